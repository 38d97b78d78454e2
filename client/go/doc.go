// Package nsbroker gives a Go program sockets in Linux network namespaces, without root.
//
// A daemon, the broker, makes each socket in its namespace and passes it to the program. The program never calls
// setns(2) and locks no thread. What it gets are ordinary connections and listeners of package net.
//
// Start with a [Namespace]: it has the methods of [net.Dialer] and [net.ListenConfig], so other packages can use it:
//
//	blue := nsbroker.Namespace{Name: "blue"}
//	client := http.Client{Transport: &http.Transport{DialContext: blue.DialContext}}
//
// A [Client] opens sockets of any kind, many in one round trip, and asks what the policy allows.
//
// # Goroutines, processes and users
//
// All methods can be called from any number of goroutines. All descriptors are close-on-exec from the moment they
// arrive, so a program that you start with os/exec inherits none, unless you list it in ExtraFiles. A program that
// changes its user or group leaves its earlier connections to the broker unused.
//
// # Restarts
//
// If the broker restarts, the package asks again, and sockets go on. It asks again only for requests without an
// answer. The kernel closed their sockets, so none is left behind.
package nsbroker
