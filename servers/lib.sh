# What the scripts in this folder share: a cache outside the tree, free ports, processes known by their pids.
# Sourced by them, with CMD, DIR and NAME set.

CACHE=${WINDLASS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/windlass}

die() { echo "servers/$NAME: $*" >&2; exit 1; }

# package COMMAND NAME...: has Debian's packages installed when COMMAND is missing, where that may be done.
package() {
  local command=$1
  shift
  ! command -v "$command" >/dev/null || return 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || die "needs $command: install $*"
  apt-get install -y -qq --no-install-recommends "$@" >/dev/null || {
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null
  } || die "apt-get could not install $*"
}

# port: sets PORT to a free one on loopback, below those that the kernel hands out by itself, and not one of before.
taken=" "
port() {
  local try
  while :; do
    try=$((15000 + (RANDOM * 32768 + RANDOM) % 17000))
    case "$taken" in *" $try "*) continue ;; esac
    if (exec 3<>"/dev/tcp/127.0.0.1/$try") 2>/dev/null; then continue; fi
    taken="$taken$try " PORT=$try
    return
  done
}

# lives PID MARK: whether the process that was started with WINDLASS_SERVER=MARK lives. A pid may be another's by now; where
# /proc is that of another namespace of pids, as in a container that shares it, nobody can tell.
lives() {
  local self
  read -r self _ </proc/self/stat
  if [ "$self" != "$BASHPID" ]; then kill -0 "$1" 2>/dev/null; return; fi
  tr '\0' '\n' 2>/dev/null <"/proc/$1/environ" | grep -qxF "WINDLASS_SERVER=$2" &&
    ! grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null
}

# pid_of N: the pid of node N while it lives, else nothing.
pid_of() {
  local file="$DIR/node$1/pid" pid
  [ -s "$file" ] || return 0
  pid=$(cat "$file")
  ! lives "$pid" "$DIR/node$1" || echo "$pid"
}

nodes() { local node; for node in "$DIR"/node*/; do node=${node%/}; echo "${node##*node}"; done; }

# gone N SECONDS: waits for the end of node N.
gone() {
  local end=$((SECONDS + $2))
  while [ -n "$(pid_of "$1")" ]; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

# signal N SIGNAL: to node N, which must be there.
signal() {
  local pid
  pid=$(pid_of "$1")
  [ -n "$pid" ] || die "node $1 in $DIR is not running"
  kill -"$2" "$pid"
}

# down: ends every node, with time to end by itself.
down() {
  local node pid
  for node in $(nodes); do
    pid=$(pid_of "$node")
    [ -z "$pid" ] || kill -CONT "$pid" || :
    [ -z "$pid" ] || kill -TERM "$pid" || :
  done
  for node in $(nodes); do
    gone "$node" 30 || { signal "$node" KILL; gone "$node" 10 || die "node $node in $DIR does not end"; }
  done
}

# jars LIB PROPERTY: the jars of servers/$NAME.xml in LIB, fetched once by Maven, each as its digest says.
jars() {
  local lib=$1
  [ ! -e "$lib/.complete" ] || return 0
  package mvn maven
  rm -rf "$lib.part"
  mkdir -p "$lib.part"
  mvn -B -q -f "$HERE/$NAME.xml" -D"$2" dependency:copy-dependencies -DoutputDirectory="$lib.part" >&2 </dev/null ||
    die "Maven could not fetch $NAME"
  (cd "$lib.part" && sha256sum --quiet --strict -c "$HERE/$NAME.sha256") >&2 || die "a jar is not what it was"
  [ "$(find "$lib.part" -name '*.jar' | wc -l)" = "$(wc -l <"$HERE/$NAME.sha256")" ] || die "there are other jars than listed"
  : >"$lib.part/.complete"
  rm -rf "$lib"
  mv "$lib.part" "$lib"
}

# classes VARIABLE FILE: archives what a start loads, by a start whose Java gets its option from VARIABLE. It halves the
# next ones, is tied to this Java and these jars, and ignored with others.
classes() {
  local dir
  dir=$(mktemp -d)
  if env "$1=-XX:ArchiveClassesAtExit=$2.part" "$HERE/$NAME" up "$dir" >/dev/null && "$HERE/$NAME" down "$dir" && mv "$2.part" "$2"
  then :; else
    echo "servers/$NAME: no archive of classes: starts take longer" >&2
    "$HERE/$NAME" down "$dir" >/dev/null 2>&1 || :
  fi
  rm -rf "$dir"
}

# account: what clients of AWS ask for; the servers for tests take any. It keeps them from a real account.
account() { printf '%s\n' AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1; }

# serves N URL: waits until node N answers there.
serves() {
  local end=$((SECONDS + 120))
  until curl -sf -m 2 -o /dev/null "$2"; do
    [ -n "$(pid_of "$1")" ] || { sleep 0.3; [ -n "$(pid_of "$1")" ] || { tail -n 5 "$DIR/node$1/log" >&2; die "node $1 died"; }; }
    [ "$SECONDS" -lt "$end" ] || die "node $1 does not serve after two minutes: $DIR/node$1/log"
    sleep 0.05
  done
}

# dispatch: the commands that are the same for all. A script has `install`, `up`, `launch N` and `ready N...`.
dispatch() {
  local node
  case $CMD in
    install) install ;;
    up) mkdir -p "$DIR"; DIR=$(cd "$DIR" && pwd); [ ! -e "$DIR/env" ] || die "$DIR has servers already"; up "$@" ;;
    *)
      [ -d "$DIR" ] || die "there is nothing in $DIR"
      DIR=$(cd "$DIR" && pwd) node=${1:-1}
      case $CMD in
        down) down; rm -f "$DIR/env" ;;
        kill) signal "$node" KILL; gone "$node" 10 || die "node $node does not end" ;;
        stop) signal "$node" TERM; gone "$node" 60 || die "node $node does not end" ;;
        start) [ -z "$(pid_of "$node")" ] || die "node $node is running"; launch "$node"; ready "$node" ;;
        pause) signal "$node" STOP ;;
        resume) signal "$node" CONT ;;
        *) die "no command $CMD: install, up DIR [--nodes N], down DIR, or kill, stop, start, pause, resume DIR [N]" ;;
      esac ;;
  esac
}
