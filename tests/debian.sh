# Makes a pristine Debian in a directory. For `source` in bash; needs root, debootstrap, and a mirror of Debian: the one
# that this machine's own apt uses.

PATH=$PATH:/usr/sbin:/sbin

fail() { printf '%s: %s\n' "$0" "$*" >&2; exit 1; }

# own_directory DIRECTORY VARIABLE: makes it; fails if it is another user's. VARIABLE is what to set then.
own_directory() {
  install -d -m 700 "$1"
  # Whoever could write there would choose what root starts.
  [ -O "$1" ] || fail "$1 is another user's: set $2 to a directory of your own"
  chmod 700 "$1"
}

# bootstrap SUITE ROOT PACKAGE...: installs a minimal Debian and these packages in the directory ROOT.
bootstrap() {
  local suite=$1 root=$2 mirror
  shift 2
  mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
    awk -v suite="$suite" '$1 == "Debian" && $2 == "Debian" { if ($3 == suite) best = $4; any = $4 }
      END { print best ? best : any }')
  [ -n "$mirror" ] || fail "this machine's apt knows no mirror of Debian"
  # What it mounts goes with it, however it ends.
  unshare --mount debootstrap --force-check-gpg --variant=minbase --include="$(IFS=,; echo "$*")" \
    "$suite" "$root" "$mirror" >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; fail "debootstrap failed"; }
}
