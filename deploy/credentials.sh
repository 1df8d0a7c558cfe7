#!/usr/bin/env bash
# Make what a broker and its clients need: an authority of your own, a certificate for the broker, and for each
# client a certificate and a password. What is there already stays; call it again to add a client.
#   bash deploy/credentials.sh FOLDER BROKER-NAME CLIENT...
#   bash deploy/credentials.sh /etc/heedloop broker.example loop operator coder
# Give a client ca.crt and its own .crt, .key (or .password). Keep ca.key off the broker's machine if you can.
# Run by root it gives the users mosquitto and heedloop, where they exist, what is theirs: broker.* and loop.*.
set -euo pipefail
umask 077

if [ $# -lt 3 ]; then
    sed -n '2,7s/^# \?//p' "$0" >&2
    exit 2
fi
for program in openssl mosquitto_passwd; do
    command -v "$program" >/dev/null || { echo "error: $program is not installed" >&2; exit 69; }
done
folder=$1 broker=$2
shift 2
DAYS=${DAYS:-825}
mkdir -p "$folder"
cd "$folder"

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

signed() { # name, common name, extensions
    [ -e "$1.crt" ] && return
    key "$1"
    openssl req -new -key "$1.key" -subj "/CN=$2" |
        openssl x509 -req -sha256 -days "$DAYS" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$1.crt" \
            -extfile <(printf '%s\n' "basicConstraints=CA:FALSE" "$3") 2>/dev/null
}

if [ ! -e ca.crt ]; then
    key ca
    openssl req -x509 -new -sha256 -days "$((4 * DAYS))" -key ca.key -subj "/CN=heedloop authority" -out ca.crt \
        -addext "keyUsage=critical,keyCertSign,cRLSign"
fi
case $broker in
    *[!0-9.]*) names="DNS:$broker,DNS:localhost,IP:127.0.0.1" ;;
    *) names="IP:$broker,DNS:localhost,IP:127.0.0.1" ;;
esac
signed broker "$broker" "subjectAltName=$names
extendedKeyUsage=serverAuth"
touch broker.passwords
for client in "$@"; do
    case $client in
        *[!A-Za-z0-9_.-]* | broker | ca) echo "error: $client cannot be a client's name" >&2; exit 2 ;;
    esac
    signed "$client" "$client" "extendedKeyUsage=clientAuth"
    if [ ! -e "$client.password" ]; then
        openssl rand -hex 24 >"$client.password"
        mosquitto_passwd -b broker.passwords "$client" "$(cat "$client.password")"
    fi
done
chmod 600 -- *.key *.password broker.passwords
# Certificates are no secrets, and mosquitto and heedloop read them without root: the mask above hid them.
chmod 755 .
chmod 644 -- *.crt

is_user() { id "$1" >/dev/null 2>&1; }
if [ "$(id -u)" = 0 ]; then
    if is_user mosquitto; then chown mosquitto broker.crt broker.key broker.passwords; fi
    if is_user heedloop && [ -e loop.key ]; then chown heedloop loop.crt loop.key loop.password; fi
fi
echo "$folder: ready for $broker and $*" >&2
