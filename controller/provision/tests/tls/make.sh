#!/bin/sh
# Makes the certificates of the webhook's tests anew: two authorities, a receiver's certificate, one that has expired, and
# the controller's own. They hold for a century and guard nothing; the keys are public.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

authority() {
    key "$work/$1.key"
    openssl req -x509 -new -key "$work/$1.key" -subj "/CN=Forebay tests, $1" -days 36500 -out "$1.pem" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
}

# name, subject's alternative name, use, begin, end
signed() {
    key "$1.key"
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$work/$1.csr"
    printf 'subjectAltName=%s\nextendedKeyUsage=%s\nbasicConstraints=critical,CA:FALSE\n' "$2" "$3" >"$work/$1.ext"
    openssl ca -batch -config "$work/ca.conf" -in "$work/$1.csr" -extfile "$work/$1.ext" -startdate "$4" -enddate "$5" \
        -out "$1.pem" -notext
}

authority authority
authority stranger
: >"$work/index"
cat >"$work/ca.conf" <<CONF
[ca]
default_ca=ours
[ours]
database=$work/index
new_certs_dir=$work
rand_serial=yes
default_md=sha256
policy=any
private_key=$work/authority.key
certificate=authority.pem
[any]
commonName=supplied
CONF
signed receiver DNS:receiver.test,IP:127.0.0.1 serverAuth 20260101000000Z 21251231000000Z
signed expired DNS:receiver.test serverAuth 20200101000000Z 20210101000000Z
signed controller DNS:controller.test clientAuth 20260101000000Z 21251231000000Z
