// The project has no address on the web, and top-level names without a dot belong to the standard library. The domain
// .example is reserved (RFC 2606), so nobody can offer other code under this path. Programs use `replace`: see
// client/docs/go.md.
module nsbroker.example/nsbroker

go 1.19
