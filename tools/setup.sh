# What the runs under Wine and qemu share. Source it; $log is where setting up is written, $where what
# is not tested if that fails.

export NO_COLOR=1 DENO_NO_UPDATE_CHECK=1

# Ends with 77 where a step is not possible: nothing was tested.
attempt() { # WHAT COMMAND...
  local what=$1
  shift
  "$@" </dev/null >>"$log" 2>&1 9>&- && return
  {
    echo "!!! NOT TESTED $where: $what failed; the end of $log:"
    tail -n 15 "$log"
  } >&2
  exit 77
}

debian() { # PACKAGE...
  apt-get update -q &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
      --no-install-recommends "$@"
}

# Unpacks a build of Deno into the folder `package`; the caller stays in its own.
unpack() ( # BUILD FOLDER
  cd "$2" && file=$(npm pack --silent "@deno/$1") && tar xzf "$file" && rm "$file"
)
