module chaperone.dev/test/go-reader

go 1.25
