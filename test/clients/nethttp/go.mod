module chaperone.dev/test/nethttp

go 1.25
