#!@BUSYBOX@ sh
# The CNI plugin of node mode (CNI specification 1.1), run by the container runtime for every pod of the node. A pod whose annotation asks for rules gets them
# from this node's agent, or does not start; every other pod passes by without anybody being asked. Nothing of the host is needed but its kernel:
# shell, awk and the rest are one static program beside this file.
set -u
LC_ALL=C
export LC_ALL
busybox=@BUSYBOX@
mailbox=@MAILBOX@
agent='the agent of chaperone (DaemonSet chaperone-node)'
# The agent takes a tenth of a second. One that is being replaced is waited for; the kubelet itself gives up after two minutes.
patience=@PATIENCE@
version=1.1.0

# fail CODE MESSAGE: an error as the specification has it (section 5); no quotes in the message.
fail() {
  printf '{"cniVersion":"%s","code":%s,"msg":"chaperone: %s"}\n' "$version" "$1" "$2"
  exit 1
}

# The values of three members of the configuration, a line each: cniVersion, prevResult, and whether runtimeConfig has an annotation for us.
# Cut at its quotation marks, a document is outside and inside of strings by turns; a cut after an odd number of backslashes is none.
read_config() {
  "$busybox" awk '
  BEGIN { RS = "\""; inside = 0; depth = 0; key = ""; isValue = 0; ours = "" }
  inside {
    if (length(piece) < 4096 || key == "prevResult") piece = piece $0
    match($0, /\\*$/)
    if (RLENGTH % 2 == 1) { piece = piece "\""; next }
    inside = 0
    if (isValue) {
      isRules = key == "runtimeConfig" && depth == 3 && piece == "chaperone.dev/rules"
      if (key == "cniVersion" || key == "prevResult") found[key] = found[key] "\"" piece "\""
    } else if (depth == 1) { key = piece; found[key] = "" }
    next
  }
  {
    # As a key of runtimeConfig, of its one object of annotations; as a value it is nothing.
    if (isRules && $0 ~ /^[ \t\r\n]*:/) ours = "ours"
    isRules = 0
    count = length($0)
    for (at = 1; at <= count; at++) {
      char = substr($0, at, 1)
      if (char == "{" || char == "[") depth++
      if (char == "}" || char == "]") depth--
      if (depth == 0 || (depth == 1 && char == ",")) { isValue = 0; continue }
      if (isValue) { if (key == "prevResult") found[key] = found[key] (char == "\n" ? " " : char) }
      else if (depth == 1 && char == ":") isValue = 1
    }
    inside = 1
    piece = ""
  }
  END { print found["cniVersion"]; print found["prevResult"]; print ours }'
}

# ask: leaves the request where the agent finds it, and waits for its answer.
ask() {
  case ${CNI_CONTAINERID:-} in
    '' | *[!A-Za-z0-9_.-]*) fail 4 'CNI_CONTAINERID is not the id of a container' ;;
  esac
  letter=$mailbox/$CNI_CONTAINERID.$$
  trap '"$busybox" rm -f "$letter.new" "$letter.request" "$letter.answer"' EXIT
  printf '%s\n' "$CNI_COMMAND" "${CNI_NETNS:-}" "${CNI_ARGS:-}" "$config" 2>/dev/null >"$letter.new" &&
    "$busybox" mv "$letter.new" "$letter.request" 2>/dev/null ||
    fail 11 "$agent has not run on this node since it started, so the rules of $pod are not loaded and it does not start"
  read -r now _ </proc/uptime
  deadline=$((${now%.*} + patience))
  while [ ! -f "$letter.answer" ]; do
    read -r now _ </proc/uptime
    [ "${now%.*}" -lt "$deadline" ] ||
      fail 11 "$agent does not answer on this node, so the rules of $pod are not loaded and it does not start: see that its pod on this node is ready"
    "$busybox" usleep 20000
  done
  IFS= read -r answer <"$letter.answer"
  [ "$answer" = ok ] && return
  printf '%s\n' "$answer"
  exit 1
}

# argument NAME: of CNI_ARGS, where it is the name of an object.
argument() {
  value=
  case ";${CNI_ARGS:-}" in
    *";$1="*) value=";${CNI_ARGS:-}" value=${value#*";$1="} value=${value%%;*} ;;
  esac
  case $value in
    '' | *[!a-z0-9.-]*) value=unknown ;;
  esac
  printf '%s' "$value"
}

config=$("$busybox" cat)
pod="pod $(argument K8S_POD_NAMESPACE)/$(argument K8S_POD_NAME)"
{
  IFS= read -r said
  IFS= read -r result
  IFS= read -r ours
} <<END
$(printf '%s' "$config" | read_config)
END
said=${said#\"}
said=${said%\"}
case $said in
  '' | *[!0-9.]*) ;;
  *) version=$said ;;
esac

case ${CNI_COMMAND:-} in
  ADD)
    [ -n "$result" ] || fail 7 'this plugin comes after another in a list, and there is no prevResult'
    [ -z "$ours" ] || ask
    printf '%s\n' "$result"
    ;;
  CHECK) [ -z "$ours" ] || ask ;;
  # The rules go with the network they are in. What has to be said of this node concerns our pods alone, so the node can serve.
  DEL | GC | STATUS) ;;
  VERSION)
    printf '{"cniVersion":"%s","supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}\n' "$version"
    ;;
  *) fail 4 'CNI_COMMAND is not ADD, CHECK, DEL, GC, STATUS or VERSION' ;;
esac
