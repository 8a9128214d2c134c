# stdin: the job's data, {"file": "..."}. stdout: the result. stderr: log lines.
file=$(sed -n 's/.*"file" *: *"\([^"]*\)".*/\1/p')
[ -n "$file" ] || { echo 'the data names no "file"' >&2; exit 65; }
[ -r "$file" ] || { echo "cannot read $file" >&2; exit 65; }
echo "counting $file, attempt $WINDLASS_ATTEMPT" >&2
printf '{"file": "%s", "words": %d}\n' "$file" "$(wc -w <"$file")"
