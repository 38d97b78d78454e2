package nsbroker

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Names are looked up in the namespace: by its hosts file, then by its name servers, over sockets of the namespace.
// Files of this program's own namespace are never read.

// The files are read anew after this time.
const filesTime = 2 * time.Second

// Bounds of resolv.conf(5), as glibc has them.
const (
	maxServers  = 3
	maxNdots    = 15
	maxTimeout  = 30
	maxAttempts = 5
)

// nameFiles are the parsed files of a namespace.
type nameFiles struct {
	servers  []netip.AddrPort
	search   []string
	ndots    int
	timeout  time.Duration
	attempts int
	useTCP   bool
	hosts    map[string][]netip.Addr
	services map[string]uint16
	origin   string
}

type filesOfName struct {
	files *nameFiles
	until time.Time
}

// resolverFiles returns the files of the namespace. Those of a path or descriptor are read each time: the path may mean
// another namespace by now.
func (n Namespace) resolverFiles(ctx context.Context) (*nameFiles, error) {
	client, place := n.client(), Spec{Namespace: n.Name, File: n.File}
	if !place.isSent() {
		client.mu.Lock()
		kept := client.files[n.Name]
		client.mu.Unlock()
		if kept.files != nil && time.Now().Before(kept.until) {
			return kept.files, nil
		}
	}
	texts, err := client.resolverFiles(ctx, place, n.Timeout)
	if err != nil {
		return nil, err
	}
	files := parseFiles(texts)
	if !place.isSent() {
		client.mu.Lock()
		defer client.mu.Unlock()
		if client.files == nil || len(client.files) > maxListItems {
			client.files = map[string]filesOfName{}
		}
		client.files[n.Name] = filesOfName{files, time.Now().Add(filesTime)}
	}
	return files, nil
}

func parseFiles(texts *ResolverFiles) *nameFiles {
	made := &nameFiles{ndots: 1, timeout: 5 * time.Second, attempts: 2, origin: texts.Origin}
	for _, line := range strings.Split(texts.ResolvConf, "\n") {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		if words := strings.Fields(line); len(words) > 1 {
			made.setting(words[0], words[1:])
		}
	}
	if len(made.servers) == 0 {
		made.servers = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)}
	}
	made.hosts, made.services = parseHosts(texts.Hosts), parseServices(texts.Files["services"])
	return made
}

func (f *nameFiles) setting(key string, values []string) {
	switch key {
	case "nameserver":
		if addr, err := netip.ParseAddr(values[0]); err == nil && len(f.servers) < maxServers {
			f.servers = append(f.servers, netip.AddrPortFrom(addr, dnsPort))
		}
	case "domain":
		f.search = values[:1]
	case "search":
		f.search = values
	case "options":
		for _, option := range values {
			name, text, _ := strings.Cut(option, ":")
			number, _ := strconv.Atoi(text)
			switch {
			case name == "use-vc":
				f.useTCP = true
			case name == "ndots" && number >= 0:
				f.ndots = atMost(number, maxNdots)
			case name == "timeout" && number > 0:
				f.timeout = time.Duration(atMost(number, maxTimeout)) * time.Second
			case name == "attempts" && number > 0:
				f.attempts = atMost(number, maxAttempts)
			}
		}
	}
}

func atMost(number, most int) int {
	if number > most {
		return most
	}
	return number
}

func parseHosts(text string) map[string][]netip.Addr {
	made := map[string][]netip.Addr{}
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(words[0])
		if err != nil {
			continue
		}
		for _, name := range words[1:] {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			made[name] = append(made[name], addr)
		}
	}
	return made
}

// parseServices returns ports by "name/protocol".
func parseServices(text string) map[string]uint16 {
	made := map[string]uint16{}
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		number, protocol, _ := strings.Cut(words[1], "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			continue
		}
		for _, name := range append(words[2:], words[0]) {
			if _, ok := made[name+"/"+protocol]; !ok {
				made[name+"/"+protocol] = uint16(port)
			}
		}
	}
	return made
}

// known returns the addresses that need no name server. isKnown is false if a name server must be asked.
func (f *nameFiles) known(host string) (found []netip.Addr, isKnown bool) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if found, isKnown = f.hosts[host]; isKnown {
		return found, true
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761.
		return []netip.Addr{netip.MustParseAddr("::1"), netip.AddrFrom4([4]byte{127, 0, 0, 1})}, true
	}
	return nil, false
}

// names returns the names to ask for: the host itself, and below each domain of the search list.
func (f *nameFiles) names(host string) []string {
	if strings.HasSuffix(host, ".") {
		return []string{strings.TrimSuffix(host, ".")}
	}
	var made []string
	isAbsolute := strings.Count(host, ".") >= f.ndots
	if isAbsolute {
		made = append(made, host)
	}
	for _, domain := range f.search {
		if domain = strings.TrimSuffix(domain, "."); domain != "" {
			made = append(made, host+"."+domain)
		}
	}
	if !isAbsolute {
		made = append(made, host)
	}
	return made
}

// LookupNetIP looks up a host in the namespace, by its hosts file and its name servers. The network is "ip", "ip4" or
// "ip6". A numeric host is returned as it is. IPv6 addresses come first.
func (n Namespace) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	var kind ipKind
	switch network {
	case "ip":
	case "ip4", "ip6":
		kind, _ = parseNetwork("tcp" + network[2:])
	default:
		return nil, net.UnknownNetworkError(network)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if network == "ip4" && addr.Is4In6() {
			addr = addr.Unmap()
		}
		if !kind.allows(addr) {
			return nil, &net.AddrError{Err: "no suitable address", Addr: host}
		}
		return []netip.Addr{addr}, nil
	}
	files, err := n.resolverFiles(ctx)
	if err != nil {
		return nil, err
	}
	if known, ok := files.known(host); ok {
		if found := ofKind(known, kind); len(found) > 0 {
			return found, nil
		}
	}
	return n.askNames(ctx, files, kind, host)
}

func ofKind(known []netip.Addr, kind ipKind) []netip.Addr {
	var found []netip.Addr
	for _, addr := range known {
		if kind.allows(addr) {
			found = append(found, addr)
		}
	}
	return found
}

var errNoSuchHost = errors.New("no such host")

// askNames asks for each name of the search list until one has an address.
func (n Namespace) askNames(ctx context.Context, files *nameFiles, kind ipKind, host string) ([]netip.Addr, error) {
	failure := errNoSuchHost
	for _, name := range files.names(host) {
		if !isName(name) {
			continue
		}
		found, err := n.askServers(ctx, files, kind, name)
		if err == nil && len(found) > 0 {
			return found, nil
		}
		if ended := ctx.Err(); ended != nil {
			return nil, ended
		}
		if err != nil && err != errNoSuchHost {
			failure = err
		}
	}
	made := &net.DNSError{Err: failure.Error(), Name: host, Server: files.origin}
	made.IsNotFound = failure == errNoSuchHost
	made.IsTemporary, made.IsTimeout = !made.IsNotFound, isLate(failure)
	return nil, made
}
