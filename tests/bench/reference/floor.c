/* The floor: a broker that does nsbrokerd's job and checks nothing. No policy, limits, audit, identity or proof.
 *
 *   gcc -O2 -o floor floor.c && ./floor SOCKET
 *
 * It speaks the packets of client/docs/protocol.md, so that the same client asks both: requests `open` of names, as the client
 * library encodes them, without bind, listen and options. The reply has the same bytes, with made-up cookies.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { MOST_SOCKETS = 253, PACKET_BYTES = 65536, MOST_PEERS = 65536 };

static int home;

/* By the descriptor of a peer: our end of its channel, or 0 before the first reply. */
static int channels[MOST_PEERS];

/* ---- msgpack: as much of it as requests and replies have */

static uint64_t take_number(const uint8_t **at) {
    uint8_t head = *(*at)++;
    unsigned bytes = head >= 0xcc && head <= 0xcf ? 1u << (head - 0xcc) : 0;
    if (!bytes) return head & 0x7f;
    uint64_t number = 0;
    while (bytes--) number = number << 8 | *(*at)++;
    return number;
}

static unsigned take_length(const uint8_t **at) {
    uint8_t head = *(*at)++;
    if (head >= 0x80 && head <= 0x9f) return head & 0x0f; /* fixmap, fixarray */
    if (head < 0xc0) return head & 0x1f;                  /* fixstr */
    unsigned bytes = head == 0xd9 ? 1 : 2, length = 0;    /* str8; str16, array16 */
    while (bytes--) length = length << 8 | *(*at)++;
    return length;
}

static const char *take_text(const uint8_t **at, unsigned *length) {
    *length = take_length(at);
    const char *text = (const char *)*at;
    *at += *length;
    return text;
}

static uint8_t *put_text(uint8_t *at, const char *text) {
    size_t length = strlen(text);
    *at++ = 0xa0 | (uint8_t)length;
    return (uint8_t *)memcpy(at, text, length) + length;
}

static uint8_t *put_big_endian(uint8_t *at, uint64_t number, unsigned bytes) {
    while (bytes--) *at++ = (uint8_t)(number >> 8 * bytes);
    return at;
}

static uint8_t *put_id(uint8_t *at, uint64_t id) {
    if (id > 0x7f) *at++ = 0xcf;
    return put_big_endian(at, id, id > 0x7f ? 8 : 1);
}

/* ---- the job */

static void enter(const char *name, unsigned length) {
    char path[300];
    snprintf(path, sizeof path, "/run/netns/%.*s", (int)length, name);
    int namespace = open(path, O_RDONLY | O_CLOEXEC);
    if (namespace < 0) err(1, "%s", path);
    if (setns(namespace, CLONE_NEWNET)) err(1, "setns into %s", path);
    close(namespace);
}

/* {"ns": ..., "family": ..., "type": ..., "proto": ...}, where proto may be left out. The namespace is entered if it is
 * another one than `here`, the one before. */
static int open_spec(const uint8_t **at, const char **here, unsigned *here_length) {
    const char *name = NULL;
    unsigned length = 0, key_length;
    int triple[3] = {0, 0, 0};
    for (unsigned keys = take_length(at); keys; keys--) {
        const char *key = take_text(at, &key_length);
        if (key[0] == 'n') name = take_text(at, &length);
        else triple[key[0] == 'f' ? 0 : key[0] == 't' ? 1 : 2] = (int)take_number(at);
    }
    if (length != *here_length || memcmp(name, *here, length)) enter(*here = name, *here_length = length);
    int made = socket(triple[0], triple[1] | SOCK_CLOEXEC, triple[2]);
    if (made < 0) err(1, "socket");
    return made;
}

/* {"v": 1, "id": n, "op": "open", "sockets": [spec, ...]}, in this order: how the client library writes it */
static unsigned open_all(const uint8_t *at, uint64_t *id, int fds[MOST_SOCKETS]) {
    const char *here = NULL;
    unsigned length, here_length = 0;
    take_length(&at);
    take_text(&at, &length), take_number(&at);
    take_text(&at, &length), *id = take_number(&at);
    take_text(&at, &length), take_text(&at, &length), take_text(&at, &length);
    unsigned count = take_length(&at);
    for (unsigned i = 0; i < count; i++) fds[i] = open_spec(&at, &here, &here_length);
    if (setns(home, CLONE_NEWNET)) err(1, "setns back");
    return count;
}

/* All sockets are in one namespace, as far as the reply says. The numbers are as long as nsbrokerd's on a machine that
 * has run for a while. */
static size_t encode_reply(uint8_t *reply, uint64_t id, unsigned count) {
    uint8_t *at = reply;
    *at++ = 0x83;
    at = put_id(put_text(at, "id"), id);
    at = put_text(at, "namespaces");
    *at++ = 0x91, *at++ = 0x93;
    *at++ = 0xcd, at = put_big_endian(at, 1, 2);
    *at++ = 4;
    *at++ = 0xce, at = put_big_endian(at, 1, 4);
    at = put_text(at, "sockets");
    if (count > 15) *at++ = 0xdc;
    at = put_big_endian(at, count > 15 ? count : 0x90 | count, count > 15 ? 2 : 1);
    for (unsigned i = 0; i < count; i++) {
        *at++ = 0x81;
        at = put_text(at, "cookie"), *at++ = 0xce, at = put_big_endian(at, 1, 4);
    }
    return (size_t)(at - reply);
}

static void send_packet(int to, uint8_t *packet, size_t bytes, const int *fds, unsigned count) {
    union { struct cmsghdr align; char bytes[CMSG_SPACE(MOST_SOCKETS * sizeof(int))]; } control;
    struct iovec data = {packet, bytes};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (count) {
        size_t fd_bytes = count * sizeof(int);
        message.msg_control = &control, message.msg_controllen = CMSG_SPACE(fd_bytes);
        *CMSG_FIRSTHDR(&message) = (struct cmsghdr){CMSG_LEN(fd_bytes), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), fds, fd_bytes);
    }
    if (sendmsg(to, &message, MSG_NOSIGNAL) < 0) warn("sendmsg");
}

/* The sockets go over the channel and are closed here. Then the reply goes, the first one with the peer's end. */
static void send_reply(int peer, uint64_t id, const int *fds, unsigned count) {
    static uint8_t packet[PACKET_BYTES];
    int pair[2], is_first = !channels[peer];
    if (is_first) {
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) err(1, "socketpair");
        channels[peer] = pair[0];
    }
    *packet = 0x81;
    send_packet(channels[peer], packet, (size_t)(put_id(put_text(packet + 1, "id"), id) - packet), fds, count);
    for (unsigned i = 0; i < count; i++) close(fds[i]);
    send_packet(peer, packet, encode_reply(packet, id, count), pair + 1, is_first);
    if (is_first) close(pair[1]);
}

static void serve(int peer) {
    static uint8_t packet[PACKET_BYTES];
    int fds[MOST_SOCKETS];
    uint64_t id;
    struct iovec data = {packet, sizeof packet};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (recvmsg(peer, &message, MSG_CMSG_CLOEXEC) <= 0) {
        if (channels[peer]) close(channels[peer]);
        channels[peer] = 0;
        close(peer);
        return;
    }
    unsigned count = open_all(packet, &id, fds);
    send_reply(peer, id, fds, count);
}

int main(int argc, char **argv) {
    if (argc != 2) errx(2, "usage: floor SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), ready = epoll_create1(EPOLL_CLOEXEC);
    umask(0);
    if (home < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128))
        err(1, "%s", argv[1]);
    epoll_ctl(ready, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    for (struct epoll_event event; epoll_wait(ready, &event, 1, -1) > 0;) {
        if (event.data.fd != listener) {
            serve(event.data.fd);
            continue;
        }
        int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (peer >= MOST_PEERS) errx(1, "too many peers");
        if (peer >= 0) epoll_ctl(ready, EPOLL_CTL_ADD, peer, &(struct epoll_event){.events = EPOLLIN, .data.fd = peer});
    }
    err(1, "epoll_wait");
}
