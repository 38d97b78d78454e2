package nsbroker

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Look-ups, with a name server of the test.

// nameServer answers over UDP and TCP, on one port of the loopback, with the bytes that `answer` makes of a question.
func nameServer(t *testing.T, answer func(question []byte, isTCP bool) []byte) netip.AddrPort {
	t.Helper()
	packets := must(net.ListenPacket("udp", "127.0.0.1:0"))
	address := packets.LocalAddr().(*net.UDPAddr).AddrPort()
	streams, err := net.Listen("tcp", address.String())
	if err != nil {
		t.Skip("the port is in use for TCP")
	}
	t.Cleanup(func() { packets.Close(); streams.Close() })
	go func() {
		buffer := make([]byte, 512)
		for {
			size, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			packets.WriteTo([]byte("noise"), from) // Ignored.
			if reply := answer(append([]byte(nil), buffer[:size]...), false); reply != nil {
				packets.WriteTo(reply, from)
			}
		}
	}()
	go func() {
		for {
			stream, err := streams.Accept()
			if err != nil {
				return
			}
			question := must(readMessage(stream))
			writeMessage(stream, answer(question, true))
			stream.Close()
		}
	}()
	return address
}

// record appends a record whose owner is the name at `owner` of the message.
func record(reply []byte, owner int, rrtype uint16, data []byte) []byte {
	binary.BigEndian.PutUint16(reply[6:], binary.BigEndian.Uint16(reply[6:])+1)
	reply = binary.BigEndian.AppendUint16(reply, 0xc000|uint16(owner))
	reply = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(reply, rrtype), classIN)
	reply = binary.BigEndian.AppendUint32(reply, 60)
	return append(binary.BigEndian.AppendUint16(reply, uint16(len(data))), data...)
}

func rrtypeOf(question []byte) uint16 {
	return binary.BigEndian.Uint16(question[endOfQuestion(question)-4:])
}

// lookup asks for a host with a name server.
func lookup(t *testing.T, server netip.AddrPort, host string) ([]netip.Addr, error) {
	t.Helper()
	f := startFake(t, honest)
	n := Namespace{Name: "blue", Broker: f.path}
	files := &nameFiles{servers: []netip.AddrPort{server}, attempts: 1, timeout: 10 * time.Second, search: []string{"a.test"}}
	return n.askNames(context.Background(), files, ipKind{}, host)
}

func TestAddressesAlongAliases(t *testing.T) {
	server := nameServer(t, func(question []byte, _ bool) []byte {
		reply := replyTo(question, 0)
		if rrtypeOf(question) == typeAAAA {
			return reply
		}
		alias := len(reply) + 12
		reply = record(reply, headerBytes, typeCNAME, []byte("\x05alias\x04test\x00"))
		reply = record(reply, headerBytes, typeA, []byte{10, 0, 0, 1, 99}) // Not an address.
		return record(reply, alias, typeA, []byte{10, 0, 0, 7})
	})
	found, err := lookup(t, server, "www.test")
	if err != nil || len(found) != 1 || found[0].String() != "10.0.0.7" {
		t.Error(found, err)
	}
}

func TestTruncatedAnswerIsAskedForByTCP(t *testing.T) {
	server := nameServer(t, func(question []byte, isTCP bool) []byte {
		reply := replyTo(question, 0)
		if !isTCP {
			reply[2] |= flagTruncated >> 8
			return reply
		}
		if rrtypeOf(question) == typeA {
			return record(reply, headerBytes, typeA, []byte{10, 0, 0, 7})
		}
		return record(reply, headerBytes, typeAAAA, netip.MustParseAddr("fd00::7").AsSlice())
	})
	found, err := lookup(t, server, "www.test")
	if err != nil || len(found) != 2 || found[0].String() != "fd00::7" {
		t.Error(found, err)
	}
}

// Anybody can send a packet to the port: only the answer to the question counts.
func TestOtherAnswersAreIgnored(t *testing.T) {
	server := nameServer(t, func(question []byte, isTCP bool) []byte {
		if isTCP {
			return replyTo(question, codeFailure)
		}
		reply := record(replyTo(question, 0), headerBytes, typeA, []byte{10, 6, 6, 6})
		reply[0]++
		return reply
	})
	f := startFake(t, honest)
	n := Namespace{Name: "blue", Broker: f.path}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	files := &nameFiles{servers: []netip.AddrPort{server}, attempts: 1, timeout: time.Minute}
	if _, err := n.askNames(ctx, files, ipKind{}, "www.test"); err != context.DeadlineExceeded {
		t.Error(err)
	}
}

func TestErrorsOfLookUps(t *testing.T) {
	for code, isNotFound := range map[uint16]bool{codeNoName: true, codeFailure: false, 5: false} {
		code := code
		server := nameServer(t, func(question []byte, _ bool) []byte { return replyTo(question, code) })
		_, err := lookup(t, server, "www.test")
		var failure *net.DNSError
		if !errors.As(err, &failure) || failure.IsNotFound != isNotFound || failure.Temporary() == isNotFound {
			t.Errorf("code %d: %v", code, err)
		}
	}
}

func TestNamesOfTheSearchList(t *testing.T) {
	files := parseFiles(&ResolverFiles{ResolvConf: "search b.test c.test.\noptions ndots:2 timeout:1 attempts:9\n# x\n" +
		"nameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver bad\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n"})
	for host, want := range map[string][]string{
		"www":     {"www.b.test", "www.c.test", "www"},
		"a.b.www": {"a.b.www", "a.b.www.b.test", "a.b.www.c.test"},
		"www.":    {"www"},
	} {
		if got := files.names(host); !reflect.DeepEqual(got, want) {
			t.Error(host, got)
		}
	}
	if len(files.servers) != 3 || files.servers[1].Addr().Zone() != "eth0" || files.timeout != time.Second || files.attempts != 5 {
		t.Errorf("%+v", files)
	}
}

func TestHostsFileComesFirst(t *testing.T) {
	hosts := "10.0.0.7 www.test WWW # comment\nfd00::7 www.test\nbad line\n10.0.0.9 localhost\n"
	f := startFake(t, resolverOf(t, "nameserver 127.0.0.1\n", hosts))
	n := Namespace{Name: "blue", Broker: f.path}
	for host, want := range map[string]string{
		"www.test": "[10.0.0.7 fd00::7]", "Www.TEST.": "[10.0.0.7 fd00::7]", "www": "[10.0.0.7]",
		"localhost": "[10.0.0.9]", "a.localhost": "[::1 127.0.0.1]", "fe80::1%eth0": "[fe80::1%eth0]",
	} {
		found, err := n.LookupNetIP(context.Background(), "ip", host)
		if got := textOf(found); got != want {
			t.Error(host, got, err)
		}
	}
	found, _ := n.LookupNetIP(context.Background(), "ip6", "www.test")
	if textOf(found) != "[fd00::7]" {
		t.Error(found)
	}
	// The resolver of package net gets the same.
	names, err := n.Resolver().LookupHost(context.Background(), "www.test.")
	if err != nil || len(names) != 2 {
		t.Error(names, err)
	}
}

func textOf(found []netip.Addr) string {
	var texts []string
	for _, addr := range found {
		texts = append(texts, addr.String())
	}
	return "[" + strings.Join(texts, " ") + "]"
}

// resolverOf serves the files of a namespace, and sockets.
func resolverOf(t *testing.T, resolvConf, hosts string) func(p *peer) {
	return func(p *peer) {
		for r := p.receive(); r != nil; r = p.receive() {
			if r.op != "resolver" {
				p.answer(r)
				continue
			}
			blob := appendString(appendString(appendMapHeader(nil, 3), "resolv_conf"), resolvConf)
			blob = appendString(appendString(blob, "hosts"), hosts)
			blob = appendString(appendString(blob, "origin"), "/etc/resolv.conf")
			fd := memfd(t, blob, allSeals)
			p.deliver(r.id, fd)
			syscall.Close(fd)
			p.reply(&reply{id: r.id, isBlob: true, blobBytes: int64(len(blob))})
		}
	}
}

// A name in a message can point anywhere, also to itself.
func TestHostileAnswersEnd(t *testing.T) {
	question := newQuestion("www.test", typeA)
	for name, tail := range map[string][]byte{
		"itself": {0xc0, byte(len(question))}, "ahead": {0xc0, 0xff}, "nothing": {}, "a long label": {0x3f, 'a'},
		"a record too long": append([]byte{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0xff, 0xff}, 1, 2),
	} {
		reply := append(replyTo(question, 0), tail...)
		binary.BigEndian.PutUint16(reply[6:], 0xffff)
		if _, err := addressesIn(reply); err == nil {
			t.Errorf("%s is not refused", name)
		}
	}
	for _, name := range []string{"", "a..b", "a b", "a\x00b", strings.Repeat("n", 64), strings.Repeat("n.", 130)} {
		if isName(name) {
			t.Errorf("%q is a name", name)
		}
	}
	if isLate(os.ErrNotExist) {
		t.Error("not late")
	}
}
