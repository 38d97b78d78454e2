package nsbroker_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"

	"nsbroker.example/nsbroker"
)

// A page, fetched through a namespace. The name is looked up there, too.
func ExampleNamespace_DialContext() {
	blue := nsbroker.Namespace{Name: "blue"}
	client := http.Client{Transport: &http.Transport{DialContext: blue.DialContext}}
	response, err := client.Get("http://www.example.org/")
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	fmt.Println(response.Status)
}

// One program, and a server in each of three namespaces.
func ExampleNamespace_Listen() {
	for _, name := range []string{"alpha", "beta", "blue"} {
		listener, err := nsbroker.Namespace{Name: name}.Listen(context.Background(), "tcp", ":80")
		if err != nil {
			log.Fatal(err)
		}
		go http.Serve(listener, http.FileServer(http.Dir("/srv/"+name)))
	}
	select {}
}

func ExampleNamespace_ListenPacket() {
	conn, err := nsbroker.Namespace{Name: "blue"}.ListenPacket(context.Background(), "udp", ":5353")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
}

func ExampleNamespace_Resolver() {
	records, err := nsbroker.Namespace{Name: "blue"}.Resolver().LookupTXT(context.Background(), "example.org.")
	fmt.Println(records, err)
}

func ExampleNamespace_LookupNetIP() {
	addresses, err := nsbroker.Namespace{Name: "blue"}.LookupNetIP(context.Background(), "ip4", "www.example.org")
	fmt.Println(addresses, err)
}

// Sockets of several kinds and namespaces in one round trip. All are opened, or none.
func ExampleClient_Open() {
	var client nsbroker.Client
	files, err := client.Open(context.Background(), []nsbroker.Spec{
		{Namespace: "blue", Family: syscall.AF_INET, Type: syscall.SOCK_STREAM},
		{
			Namespace: "alpha", Family: syscall.AF_INET, Type: syscall.SOCK_STREAM,
			Bind:   nsbroker.IPAddress{Addr: netip.IPv4Unspecified(), Port: 80},
			Listen: true, Backlog: 128,
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.FileListener(files[1]) // A copy.
	for _, file := range files {
		file.Close()
	}
	fmt.Println(listener, err)
}

func ExampleClient_Namespaces() {
	listing, err := new(nsbroker.Client).Namespaces(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, usable := range listing.Namespaces {
		fmt.Println(usable.Name)
	}
}

func ExampleClient_Explain() {
	spec := nsbroker.Spec{Namespace: "blue", Family: syscall.AF_INET, Type: syscall.SOCK_STREAM}
	to := nsbroker.IPAddress{Addr: netip.MustParseAddr("10.0.0.1"), Port: 443}
	answer, err := new(nsbroker.Client).Explain(context.Background(), spec, to)
	if err != nil {
		log.Fatal(err)
	}
	if !answer.Allowed() {
		fmt.Println(answer.Reason, answer.Lacks)
	}
}

func ExampleError() {
	_, err := nsbroker.Namespace{Name: "tenant-mgmt"}.Dial("tcp", "10.0.0.1:80")
	var refusal *nsbroker.Error
	switch {
	case errors.Is(err, os.ErrPermission) && errors.As(err, &refusal):
		fmt.Println(refusal.Message) // For example: no grant of uid 1000 covers namespace 'tenant-mgmt'
	case errors.Is(err, syscall.ECONNREFUSED):
		fmt.Println("nobody listens there")
	}
}
