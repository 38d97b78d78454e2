// A web server, and 50 clients of it at once.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
)

const clients = 50

func fetch(url string) bool {
	client := http.Client{Transport: &http.Transport{}}
	response, err := client.Get(url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return false
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return err == nil && string(body) == "hello"
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go http.Serve(listener, http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
		io.WriteString(writer, "hello")
	}))
	var group sync.WaitGroup
	var lock sync.Mutex
	answers := 0
	for i := 0; i < clients; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			if fetch("http://" + listener.Addr().String()) {
				lock.Lock()
				answers++
				lock.Unlock()
			}
		}()
	}
	group.Wait()
	fmt.Println(answers, "answers")
}
