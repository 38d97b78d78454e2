# Finds a Python that the unprivileged user can run, too, and makes a virtual environment with it.
# For `source` in bash. Uses only coreutils and util-linux.

NOBODY=65534

# as_nobody COMMAND...: runs it as the user nobody, or as the current user if that is not root.
as_nobody() {
  if [ "$(id -u)" -eq 0 ]; then
    setpriv --reuid "$NOBODY" --regid "$NOBODY" --clear-groups -- "$@"
  else
    "$@"
  fi
}

# why_not PYTHON: prints why it can't be used. If it can, prints no line.
why_not() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "older than 3.11, or does not run"; return; }
  [ -n "${ANY_PLACE:-}" ] || (cd / && as_nobody "$1" -I -c 'import socket') 2>/dev/null || { echo "the unprivileged user can't read it"; return; }
  "$1" -c 'import venv' 2>/dev/null || { echo "has no module venv"; return; }
  "$1" -c 'import ensurepip' 2>/dev/null || [ -n "$(a_pip)" ] || echo "has no ensurepip, and there is no other pip (Debian: apt-get install python3-venv)"
}

# a_pip: prints a Python with a pip that can install into other environments.
a_pip() {
  local python
  for python in $(candidates); do
    if "$python" -m pip --python "$python" --version >/dev/null 2>&1; then echo "$python"; return; fi
  done
}

# candidates: prints every Python on this machine, PYTHON first.
candidates() {
  local name directory
  if [ -n "${PYTHON:-}" ]; then command -v "$PYTHON" || echo "$PYTHON"; return; fi
  for name in python3 python3.11 python3.12 python3.13 python3.14 python3.15; do
    for directory in ${PATH//:/ } /usr/local/bin /usr/bin; do
      [ -x "$directory/$name" ] && echo "$directory/$name"
    done
  done | awk '!seen[$0]++'
}

# find_python: prints the first usable one. If no one is usable, prints the reason for each on standard error.
# With ANY_PLACE=1, the unprivileged user need not be able to run it.
find_python() {
  local python reason reasons=""
  for python in $(candidates); do
    reason=$(why_not "$python")
    if [ -z "$reason" ]; then echo "$python"; return; fi
    reasons+="  $python: $reason"$'\n'
  done
  printf 'No Python >= 3.11 can be used here (PYTHON=/path/to/python3 names another one):\n%s' "${reasons:-  no python3 on PATH
}" >&2
  return 1
}

# make_venv PYTHON DIRECTORY: makes a virtual environment with pip.
make_venv() {
  if "$1" -c 'import ensurepip' 2>/dev/null; then
    "$1" -m venv "$2"
  else
    "$1" -m venv --without-pip "$2"
    "$(a_pip)" -m pip --python "$2/bin/python" install -qq pip
  fi
}

# reachable DIRECTORY: whether the unprivileged user can enter it.
reachable() {
  as_nobody test -x "$1" -a -r "$1"
}
