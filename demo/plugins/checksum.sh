# A command per job: the job's data on stdin ({"file": "..."}), the result on stdout, an exit code.
file=$(sed -n 's/.*"file" *: *"\([^"]*\)".*/\1/p')
[ -r "$file" ] || { echo "cannot read $file" >&2; exit 65; } # EX_DATAERR: rejected, no retry helps
printf '{"file": "%s", "cksum": "%s"}\n' "$file" "$(cksum <"$file" | cut -d' ' -f1)"
