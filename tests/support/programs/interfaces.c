/* Asks about the interface of its argument on a new socket of each kind, and prints the answers: numbers, or -errno. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void ask(const char *kind, int family, int type, const char *name) {
  int fd = (int)syscall(SYS_socket, family, type, 0);
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  long result = ioctl(fd, SIOCGIFINDEX, &request) < 0 ? -errno : request.ifr_ifindex;
  printf("%s %ld %d %d\n", kind, result, fcntl(fd, F_GETFD), (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
  close(fd);
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "lo";
  ask("unix", AF_UNIX, SOCK_DGRAM, name);
  ask("unix-cloexec", AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, name);
  ask("unix-nonblock", AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, name);
  ask("inet", AF_INET, SOCK_DGRAM, name);
  printf("libc %u\n", if_nametoindex(name));
  return 0;
}
