# What debootstrap makes, under the name the other images ask for.
FROM scratch
ADD rootfs.tar /
CMD ["bash"]
