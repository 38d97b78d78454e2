package nsbroker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Tests with a real broker, in three namespaces. tests/kernel/client/go starts both, and runs them as a user without
// rights. Elsewhere they are skipped.

// places returns the names of the namespaces. In each, server.test is 127.0.0.1.
func places(t testing.TB) []string {
	names := os.Getenv("NSBROKER_TEST_NAMESPACES")
	if names == "" {
		t.Skip("tests/kernel/client/go runs it, with a broker")
	}
	return strings.Split(names, ",")
}

// serveNames serves, in each namespace, a page with the namespace's name.
func serveNames(t testing.TB) []string {
	names := places(t)
	for _, name := range names {
		name := name
		listener, err := Namespace{Name: name}.Listen(context.Background(), "tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) }))
	}
	return names
}

// get fetches a page over a connection of its own.
func get(n Namespace, url string) (string, error) {
	transport := &http.Transport{DialContext: n.DialContext, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	return string(page), err
}

func TestKernelTwoHundredGoroutines(t *testing.T) {
	names := serveNames(t)
	var group sync.WaitGroup
	var right atomic.Int64
	const goroutines, each = 200, 10
	for i := 0; i < goroutines; i++ {
		i := i
		group.Add(1)
		go func() {
			defer group.Done()
			for j := 0; j < each; j++ {
				name := names[(i+j)%len(names)]
				page, err := get(Namespace{Name: name, Timeout: time.Minute}, "http://server.test/")
				if err != nil || page != name {
					t.Errorf("in %s: %q, %v", name, page, err)
					return
				}
				right.Add(1)
			}
		}()
	}
	group.Wait()
	if right.Load() != goroutines*each {
		t.Errorf("%d right answers", right.Load())
	}
}

// The test ends the broker by kill -9 and starts it anew, as often as it writes a line. It ends with the input.
func TestKernelRestarts(t *testing.T) {
	names := serveNames(t)
	var group sync.WaitGroup
	var done, answers atomic.Int64
	for i := 0; i < 20; i++ {
		name := names[i%len(names)]
		group.Add(1)
		go func() {
			defer group.Done()
			for done.Load() == 0 {
				page, err := get(Namespace{Name: name, Timeout: time.Minute}, "http://server.test/")
				if err != nil || page != name {
					t.Errorf("in %s: %q, %v", name, page, err)
					return
				}
				answers.Add(1)
			}
		}()
	}
	lines := bufio.NewScanner(os.Stdin)
	for {
		seen := answers.Load()
		waitUntil(t, "it goes on", func() bool { return answers.Load() > seen+50 || t.Failed() })
		fmt.Println("goes on") // Now the test ends the broker.
		if !lines.Scan() || t.Failed() {
			break
		}
	}
	done.Store(1)
	group.Wait()
}

func TestKernelSocketsAreInTheirNamespaces(t *testing.T) {
	names := places(t)
	var client Client
	var specs []Spec
	for i := 0; i < 300; i++ {
		specs = append(specs, Spec{Namespace: names[i%len(names)], Family: syscall.AF_INET, Type: syscall.SOCK_DGRAM})
	}
	files, err := client.Open(context.Background(), specs)
	if err != nil {
		t.Fatal(err)
	}
	cookies := map[string]uint64{}
	for i, file := range files {
		got, name := must(cookie(int(file.Fd()), soNetnsCookie)), specs[i].Namespace
		if cookies[name] == 0 {
			cookies[name] = got
		}
		if got != cookies[name] {
			t.Errorf("socket %d is in %d, and %s is %d", i, got, name, cookies[name])
		}
		file.Close()
	}
	if len(cookies) != 3 || cookies[names[0]] == cookies[names[1]] || cookies[names[1]] == cookies[names[2]] {
		t.Error(cookies)
	}
}

// After Close, the port is free at once: the next listener gets it.
func TestKernelClosedMeansClosed(t *testing.T) {
	blue := Namespace{Name: places(t)[0]}
	for i := 0; i < 200; i++ {
		listener, err := blue.Listen(context.Background(), "tcp4", "127.0.0.1:81")
		if err != nil {
			t.Fatal(i, err)
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		if conn, err := blue.Dial("tcp", "127.0.0.1:81"); err == nil {
			conn.Close()
			t.Fatal(i, "somebody listens after Close")
		}
	}
}

func TestKernelFamilies(t *testing.T) {
	blue := Namespace{Name: places(t)[0]}
	ctx := context.Background()
	for _, c := range []struct {
		network, address string
		to, notTo        []string
	}{
		{"tcp", ":82", []string{"127.0.0.1:82", "[::1]:82", "localhost:82"}, nil},
		{"tcp4", ":83", []string{"127.0.0.1:83"}, []string{"[::1]:83"}},
		{"tcp6", ":84", []string{"[::1]:84", "[::1%lo]:84"}, []string{"127.0.0.1:84"}},
		{"tcp", "[::1%lo]:85", []string{"[::1]:85"}, []string{"127.0.0.1:85"}},
		{"tcp", "server.test:86", []string{"127.0.0.1:86", "localhost:86", ":86"}, nil},
	} {
		listener, err := blue.Listen(ctx, c.network, c.address)
		if err != nil {
			t.Error(c, err)
			continue
		}
		for _, to := range c.to {
			if conn, err := blue.Dial("tcp", to); err != nil {
				t.Error(c, err)
			} else {
				conn.Close()
			}
		}
		for _, to := range c.notTo {
			if conn, err := blue.Dial("tcp", to); err == nil {
				conn.Close()
				t.Error(c, to)
			}
		}
		listener.Close()
	}
	packets, err := blue.ListenPacket(ctx, "udp", ":87")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	conn := must(blue.Dial("udp", "server.test:87"))
	defer conn.Close()
	conn.Write([]byte("hello"))
	buffer := make([]byte, 10)
	if size, _, err := packets.ReadFrom(buffer); err != nil || size != 5 {
		t.Error(size, err)
	}
}

// The grants of this test allow tcp in the first namespace alone, and limit it to port 80 of 127.0.0.1.
func TestKernelRefusals(t *testing.T) {
	names := places(t)
	blue := Namespace{Name: names[0]}
	var refusal *Error
	_, err := Namespace{Name: names[1]}.Dial("tcp", "127.0.0.1:80")
	if !errors.Is(err, os.ErrPermission) || !errors.As(err, &refusal) || refusal.Namespace != names[1] ||
		!strings.Contains(refusal.Message, "no grant") {
		t.Error(err)
	}
	if _, err := blue.Dial("udp", "127.0.0.1:80"); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
	if _, err := blue.Listen(context.Background(), "tcp", ":80"); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
	marked := Namespace{Name: names[0], Mark: 5}
	if _, err := marked.Dial("tcp", "127.0.0.1:80"); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
	var client Client
	spec := Spec{Namespace: names[0], Family: syscall.AF_INET, Type: syscall.SOCK_DGRAM}
	answer, err := client.Explain(context.Background(), spec, nil)
	if err != nil || answer.Allowed() || len(answer.Lacks) != 1 || answer.Lacks[0][0] != (Lack{"sockets", "udp"}) {
		t.Error(answer, err)
	}
	listing, err := client.Namespaces(context.Background())
	if err != nil || len(listing.Namespaces) != 1 || listing.Namespaces[0].Name != names[0] {
		t.Error(listing, err)
	}
}

func TestKernelMissingNamespace(t *testing.T) {
	missing := Namespace{Name: places(t)[0] + "-missing"}
	if _, err := missing.Dial("tcp", "127.0.0.1:80"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	missing.Wait = 60 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := missing.DialContext(ctx, "tcp", "127.0.0.1:80"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	var timeout net.Error
	_, err := missing.DialContext(ctx, "tcp", "127.0.0.1:80")
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Error(err)
	}
}

// BenchmarkKernelHTTP shows the time for a page over a new connection: go test -bench Kernel.
func BenchmarkKernelHTTP(b *testing.B) {
	names := serveNames(b)
	var times []time.Duration
	for i := 0; i < b.N; i++ {
		begin := time.Now()
		if _, err := get(Namespace{Name: names[0]}, "http://127.0.0.1/"); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(begin))
	}
	sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "us/median")
}

// BenchmarkKernelDial shows the time for a connection to a listener.
func BenchmarkKernelDial(b *testing.B) {
	blue := Namespace{Name: serveNames(b)[0]}
	var times []time.Duration
	for i := 0; i < b.N; i++ {
		begin := time.Now()
		conn, err := blue.Dial("tcp", "127.0.0.1:80")
		if err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(begin))
		conn.Close()
	}
	sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "us/median")
}
