#!/usr/bin/env bash
# The tests once more, as a reader has them who is not root and installed the wheel: the package and
# the checkout can only be read, their path has a space and a letter that is not ASCII, the home
# folder is empty, and no language is set. The fast tests run with two threads a process on a machine
# that is busy: the notebooks and the slow tests run beside them.
#
#   tools/as_reader.sh                          everything but the pages, which are built once
#   tools/as_reader.sh pytest tests/hub         one command in that place, in its environment
#
# As root it becomes `nobody`; anybody else stays who they are. What it makes is removed at its end.
set -euo pipefail
cd "$(dirname "$0")/.."

as=(env)
if [ "$(id -u)" = 0 ]; then
  as=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups)
else
  echo "==> not root, so the tests run as $(id -un), in a checkout that can only be read"
fi

# A Python that this user may start: one below /root is none.
python=
for candidate in "${PYTHON:-python3}" /usr/bin/python3 /usr/local/bin/python3; do
  if "${as[@]}" "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$(command -v "$candidate")
    break
  fi
done
[ -n "$python" ] || { echo "No Python from 3.11 on, with venv, that an ordinary user may start: on Debian, apt install python3-venv." >&2; exit 1; }

# Gigabytes: not in /tmp, which is memory on many machines, such as Debian's from 13 on.
place=$(cd "$(mktemp -d "${TMPDIR:-/var/tmp}/reader.XXXXXX")" && pwd)
fast=""
cleanup() {
  [ -z "$fast" ] || kill -- "-$fast" 2>/dev/null || true
  chmod -R u+w "$place" && rm -rf "$place"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

reader="$place/a réader"
checkout="$reader/diffusers by hand"
mkdir -p "$checkout" "$reader/home" "$reader/tmp"
chmod 755 "$place"
[ "$(id -u)" != 0 ] || chown "nobody:$(id -g nobody)" "$reader/home" "$reader/tmp"

make --no-print-directory env
echo "==> installing the wheel and the tests' tools for a reader, with $python"
git -c safe.directory='*' ls-files -z | tar --null -T - -cf - | tar -xf - -C "$checkout"
.venv/bin/python -m hatchling build -t wheel -d "$place/wheel" >/dev/null
wheel=$(echo "$place"/wheel/*.whl)
"$python" -m venv "$checkout/.venv"
"$checkout/.venv/bin/python" -m pip install --quiet -c constraints.txt "$wheel[book,daam,test]"
"$checkout/.venv/bin/python" -m pip install --quiet --no-deps -c constraints.txt daam
touch "$checkout/.venv/.installed"
chmod -R a+rX,a-w "$checkout"

# Nothing of the caller's environment reaches the tests.
as_reader() {
  (cd "$checkout" && "${as[@]}" env -i \
    HOME="$reader/home" TMPDIR="$reader/tmp" USER=nobody LOGNAME=nobody LANG=C \
    PATH="$checkout/.venv/bin:/usr/local/bin:/usr/bin:/bin" "$@")
}

where=$(as_reader python -c 'import companion; print(companion.__file__)')
case "$where" in
  "$checkout"/.venv/*/site-packages/companion/*) ;;
  *) echo "The tests would import $where, not the wheel." >&2; exit 1 ;;
esac
! as_reader test -w "$where" || { echo "$where can be written to." >&2; exit 1; }

if [ $# -gt 0 ]; then
  as_reader "$@"
  exit
fi

# On the real machine, of which the tests replace parts: /root may not be looked into.
as_reader companion doctor Machine Variables Cache Zoo
as_reader companion fetch 3 --plan

# Side by side: each is what keeps the machine busy for the other.
log="$reader/tmp/fast.log"
set -m # a process group of its own, which ends as a whole
as_reader make unit THREADS=2 MARKED="not slow" >"$log" 2>&1 &
fast=$!
set +m
verdict=0
as_reader make notebooks || verdict=1
as_reader make unit MARKED="slow" || verdict=1
wait "$fast" || verdict=1
cat "$log"
exit "$verdict"
