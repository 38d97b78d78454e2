/* The raw client: asks a broker for TCP sockets, and times each round trip. The same for every broker.
 *
 *   gcc -O2 -o roundtrip roundtrip.c && ./roundtrip SOCKET NAMESPACE SOCKETS WARM_UP COUNT > TIMES
 *
 * A round trip is from before sendmsg to after the received sockets, so many in each, are closed. When it is warm it
 * says so by a line, and begins when it is sent one. Prints a line for each trip: when it began, by CLOCK_MONOTONIC, and
 * how long it took, in nanoseconds.
 */
#define _GNU_SOURCE
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FDS = 253, REPLY_BYTES = 65536 };

/* {"v": 1, "id": 1, "op": "open", "sockets": [{"ns": NAME, "family": AF_INET, "type": SOCK_STREAM}, ...]} in msgpack */
static size_t encode_request(char *packet, const char *name, int sockets) {
    size_t length = strlen(name);
    if (length > 31 || sockets < 1 || sockets > MOST_FDS) errx(2, "1..253 sockets, and a name of at most 31 bytes");
    char *at = packet + sprintf(packet, "\x84\xa1v\x01\xa2id\x01\xa2op\xa4open\xa7sockets");
    if (sockets > 15) *at++ = (char)0xdc, *at++ = 0, *at++ = (char)sockets;
    else *at++ = (char)(0x90 | sockets);
    while (sockets--)
        at += sprintf(at, "\x83\xa2ns%c%s\xa6" "family\x02\xa4type\x01", (char)(0xa0 | length), name);
    return (size_t)(at - packet);
}

/* Receive a packet with exactly so many descriptors, or none at all if `most` is 0. */
static ssize_t receive(int from, char *packet, int *fds, int most, int flags) {
    union { struct cmsghdr align; char bytes[CMSG_SPACE(MOST_FDS * sizeof(int))]; } control;
    struct iovec in = {packet, REPLY_BYTES};
    struct msghdr answer = {.msg_iov = &in, .msg_iovlen = 1, .msg_control = &control,
                            .msg_controllen = most ? CMSG_SPACE((size_t)most * sizeof(int)) : 0};
    ssize_t received = recvmsg(from, &answer, flags | MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = CMSG_FIRSTHDR(&answer);
    if (received <= 0 || answer.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ||
        (most && (!header || header->cmsg_len != CMSG_LEN((size_t)most * sizeof(int)))))
        errx(1, "the sockets did not come, but: %.*s", received > 0 ? (int)received : 0, packet);
    if (most) memcpy(fds, CMSG_DATA(header), (size_t)most * sizeof *fds);
    return received;
}

static void ask(int broker, const char *packet, size_t bytes, int sockets) {
    static char reply[REPLY_BYTES], delivery[REPLY_BYTES];
    static int channel = -1;
    int fds[MOST_FDS];
    if (send(broker, packet, bytes, 0) < 0) err(1, "send");
    /* The first reply with descriptors brings the channel. The descriptors of each one are on the channel before it. */
    receive(broker, reply, &channel, channel < 0, 0);
    receive(channel, delivery, fds, sockets, MSG_DONTWAIT);
    if (memcmp(delivery, "\x81\xa2id\x01", 5)) errx(1, "descriptors of another reply came");
    while (sockets--) close(fds[sockets]);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc != 6) errx(2, "usage: roundtrip SOCKET NAMESPACE SOCKETS WARM_UP COUNT");
    static char packet[65536];
    int sockets = atoi(argv[3]);
    size_t bytes = encode_request(packet, argv[2], sockets);
    long warm_up = atol(argv[4]), count = atol(argv[5]);
    int64_t *begins = malloc((size_t)count * sizeof *begins), *times = malloc((size_t)count * sizeof *times);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    int broker = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(broker, (struct sockaddr *)&address, sizeof address)) err(1, "%s", argv[1]);
    while (warm_up-- > 0) ask(broker, packet, bytes, sockets);
    puts("warm");
    fflush(stdout);
    getchar();
    for (long i = 0; i < count; i++) {
        begins[i] = now_ns();
        ask(broker, packet, bytes, sockets);
        times[i] = now_ns() - begins[i];
    }
    for (long i = 0; i < count; i++) printf("%lld %lld\n", (long long)begins[i], (long long)times[i]);
}
