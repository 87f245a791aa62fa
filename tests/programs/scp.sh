# scp from an sshd of its own: scp.sh FOLDER FILE PORT. A user who may not log in, as nobody, is refused, and that is said.

folder=$(mktemp -d "$1/ssh.XXXXXX") || exit 1
ssh-keygen -q -t ed25519 -N '' -f "$folder/host" && ssh-keygen -q -t ed25519 -N '' -f "$folder/own" || exit 1
"$(command -v sshd || echo /usr/sbin/sshd)" -D -f /dev/null -p "$3" -h "$folder/host" -o ListenAddress=127.0.0.1 -o StrictModes=no \
    -o AuthorizedKeysFile="$folder/own.pub" -o PidFile=none -o UsePAM=no -o ForceCommand=internal-sftp \
    -o 'Subsystem sftp internal-sftp' 2>/dev/null &
server=$!
options="-q -F /dev/null -P $3 -i $folder/own -o IdentitiesOnly=yes -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no \
    -o BatchMode=yes"
until ssh-keyscan -p "$3" 127.0.0.1 >"$folder/scanned" 2>/dev/null && [ -s "$folder/scanned" ]; do
    kill -0 "$server" || exit 1
done
if scp $options "$(id -un)@127.0.0.1:$2" "$folder/taken" 2>/dev/null && cmp "$2" "$folder/taken"; then
    echo copied
else
    echo refused
fi
kill "$server"
wait "$server"
rm -r "$folder"
exit 7
