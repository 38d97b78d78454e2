# Installs what the tests need: Debian's packages, Python's libraries, and the project itself.
# For `source` in bash, after deploy/demo/python.sh, in the directory of the checkout.

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
LOCK=tests/requirements.lock
OLDEST_LOCK=tests/requirements-oldest.lock
GUARD_LOCK=tests/requirements-guard.lock
NIQUESTS_LOCK=tests/requirements-niquests.lock
FUZZ_LOCK=tests/requirements-fuzz.lock

# listed SUITE: prints the lines of tests/packages.txt that belong to the suite. 3.x is the version of Debian's Python.
listed() {
  local version
  version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo 3.11)
  sed "/^#/d; s/3\.x/$version/" tests/packages.txt | awk -v suite="$1" '$1 == suite || $2 == "python3-venv"'
}

# locked DIRECTORY COMMAND...: runs a command that changes this directory while no other test run changes it.
locked() {
  local lock=$1.lock
  shift
  (
    flock 9
    "$@" 9>&-
  ) 9>"$lock"
}

# install_packages SUITE: installs the packages that are missing, one test run at a time. It does nothing without root or
# apt-get.
install_packages() {
  [ "$(id -u)" -eq 0 ] && type -P apt-get >/dev/null || return 0
  locked /run/nsbroker-tests-packages install_missing "$1"
}

install_missing() {
  local package missing=()
  while read -r _ package _; do
    [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done < <(listed "$1")
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # In runlevel 1 no package starts its server. The tests start their own.
  RUNLEVEL=1 apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

# missing_commands SUITE: prints package, command and tests for each command that is not there.
missing_commands() {
  local package command what
  while read -r _ package command what; do
    [ "$command" = - ] || PATH=$PATH:/usr/sbin:/sbin type -P "$command" >/dev/null || echo "$package $command $what"
  done < <(listed "$1")
}

# requirements PYTHON VERSIONS: prints what pyproject.toml asks for, to test with the newest or the oldest libraries, or
# with those of the guard as well.
requirements() {
  "$1" - "$2" <<'END'
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))
extras = project["project"]["optional-dependencies"]
others = {"test"} if sys.argv[1] == "guard" else {"test", "guard"}
used = project["project"]["dependencies"] + [need for name, extra in extras.items() if name not in others for need in extra]
if sys.argv[1] == "oldest":
    # If two lower bounds name one library, the higher bound satisfies both.
    bounds = {}
    for name, bound in (need.split(">=") for need in used):
        bounds[name] = max(bounds.get(name, "0"), bound, key=lambda text: [int(part) for part in text.split(".")])
    used = [f"{name}=={bound}" for name, bound in bounds.items()]
tools = [need for need in extras["test"] if not need.startswith("nsbroker")]
print("\n".join(project["build-system"]["requires"] + used + tools))
END
}

# write_locks PYTHON WORK: writes all lock files for all supported versions of Python, with a uv of its own.
write_locks() {
  local name mirror
  make_venv "$1" "$2/uv"
  "$2/uv/bin/python" -m pip install -qq uv
  # uv does not read the configuration of pip.
  mirror=$("$2/uv/bin/python" -m pip config get global.index-url 2>/dev/null) || true
  [ -z "$mirror" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$mirror}
  for name in newest:$LOCK oldest:$OLDEST_LOCK guard:$GUARD_LOCK niquests:$NIQUESTS_LOCK fuzz:$FUZZ_LOCK; do
    case $name in
      # It replaces urllib3, so it gets a directory of its own.
      niquests:*) echo niquests >"$2/requirements" ;;
      # Only wheels are installed, and later versions have none for Python 3.11.
      fuzz:*) printf 'atheris%s\n' "<3.1 ; python_version < '3.12'" ">=3.1 ; python_version >= '3.12'" >"$2/requirements" ;;
      *) requirements "$1" "${name%%:*}" >"$2/requirements" ;;
    esac
    "$2/uv/bin/uv" pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-annotate \
      --custom-compile-command "tests/run --lock" --output-file "$2/lock" "$2/requirements"
    # A lock that names a host would not work on other machines.
    ! grep -n '://' "$2/lock" || return 1
    cp "$2/lock" "${name#*:}"
    say "$(grep -c == "$2/lock") versions in ${name#*:}"
    rm "$2/lock"
  done
}

# make_libraries PYTHON DIRECTORY VERSIONS: makes an environment with the libraries, unless it is there and up to date.
# Call it, and install_checkout, with `locked` before: two runs at once make the environment once.
make_libraries() {
  local python=$1 directory=$2 from=("-r" "$LOCK") fuzzer=() stamp
  case $3 in
    lock) stamp="$python $(cat "$LOCK" "$FUZZ_LOCK" | cksum)" fuzzer=(-r "$FUZZ_LOCK") ;;
    oldest) stamp="$python $(cksum <"$OLDEST_LOCK")" from=(-r "$OLDEST_LOCK") ;;
    guard) stamp="$python $(cat "$GUARD_LOCK" "$NIQUESTS_LOCK" | cksum)" from=(-r "$GUARD_LOCK") ;;
    newest)
      # The newest versions of today: pyproject.toml or the day decides.
      stamp="$python $(date +%F) $(cksum <pyproject.toml)"
      mapfile -t from < <(requirements "$python" newest)
      fuzzer=(atheris)
      ;;
  esac
  if [ "$(cat "$directory/.stamp" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$directory"
    make_venv "$python" "$directory"
    "$directory/bin/python" -m pip install -qq "${from[@]}"
    # Without a wheel, building it would take a compiler. tests/run says that the fuzzer is skipped.
    [ ${#fuzzer[@]} -eq 0 ] || "$directory/bin/python" -m pip install -qq --only-binary :all: "${fuzzer[@]}" 2>/dev/null || true
    if [ "$3" = guard ]; then
      "$directory/bin/python" -m pip install -qq --target "$directory/niquests" -r "$NIQUESTS_LOCK"
    fi
    echo "$stamp" >"$directory/.stamp"
  fi
}

# install_checkout LIBRARIES: makes the checkout's own files importable among the libraries, for every user.
install_checkout() {
  local stamp
  stamp="$PWD $(cksum <pyproject.toml)"
  if [ "$(cat "$1/.checkout" 2>/dev/null)" != "$stamp" ]; then
    "$1/bin/python" -m pip install -qq --no-deps --no-build-isolation --editable .
    echo "$stamp" >"$1/.checkout"
  fi
}

# install_wheel PYTHON LIBRARIES WORK: builds the wheel in WORK/wheel, and installs it in WORK/venv.
install_wheel() {
  local site
  "$2/bin/python" -m pip wheel -qq --no-deps --no-build-isolation --wheel-dir "$3/wheel" .
  "$1" -m venv --without-pip "$3/venv"
  "$2/bin/python" -m pip --python "$3/venv/bin/python" install -qq --no-deps --no-index "$3"/wheel/*.whl
  site=$("$3/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  # A path in a .pth file comes after the wheel, and no .pth file of the libraries is read, such as the checkout's.
  "$2/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site/libraries.pth"
}
