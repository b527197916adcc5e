# The part of the official image that a program needs to run: the binary and the user. It has no npm, yarn or corepack.
FROM docker.io/library/debian:bookworm-slim
COPY node /usr/local/bin/node
RUN groupadd --gid 1000 node \
 && useradd --uid 1000 --gid node --shell /bin/bash --create-home node \
 && ln -s node /usr/local/bin/nodejs
CMD ["node"]
