# The demo agent's work. $1: what to do, $2: the file, $3: the line to append to it, then files to copy. See ../demo.rs.
set -eu
echo "I am the demo agent. No model is involved."
[ "$1" = question ] && exit 0

echo "✏️ Editing $2"
case "$2" in */*) mkdir -p "${2%/*}" ;; esac
printf '%s\n' "$3" >> "$2"
mode=$1
shift 3
for file in "$@"; do
    echo "📎 Taking ${file##*/}"
    cp -- "$file" .
done

case "$mode" in
fail)
    echo "Now I fail, as I was told."
    exit 1
    ;;
slow)
    # Out of the agent's process group and session, as a daemon would be.
    setsid sleep 120 > /dev/null 2>&1 &
    step=0
    while [ "$step" -lt 30 ]; do
        step=$((step + 1))
        echo "Working slowly: step $step of 30"
        sleep 2
    done
    ;;
esac
echo "Done editing."
