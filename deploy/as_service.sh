#!/usr/bin/env bash
# Run a verb as the service does: with the user, settings and secrets of its unit, drop-ins among them.
#   sudo bash deploy/as_service.sh config show
#   sudo bash deploy/as_service.sh doctor
set -euo pipefail

said() { systemctl show --property "$1" --value heedloop; }
user=$(said User)
if [ -z "$user" ]; then
    echo "error: systemd knows no unit heedloop with a user: copy deploy/heedloop.service to /etc/systemd/system" >&2
    exit 2
fi
HOME=$(getent passwd "$user" | cut -d: -f6)
settings=$(said Environment)
# shellcheck disable=SC2086  # one word a variable
export HOME $settings
set -a
[ ! -e /etc/heedloop/environment ] || . /etc/heedloop/environment
set +a
cd / # where the service runs: a heedloop.toml of this folder is not its own
exec setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups \
    /opt/heedloop/.venv/bin/python /opt/heedloop/run.py "$@"
