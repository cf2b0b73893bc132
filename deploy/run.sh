#!/bin/sh
# Runs a program of the Procfile in place of this shell, so that signals reach it; anything else is a
# command of `threadkeep`, as `migrate` or `doctor`.
set -eu
program=${1:?"usage: run.sh web|realtime|worker|beat|flower|COMMAND [OPTIONS]"}
case $program in
web | realtime | worker | beat | flower)
    line=$(sed -n "s/^$program: //p" "${PROCFILE:-/opt/threadkeep/Procfile}")
    exec sh -c "exec $line"
    ;;
*) exec threadkeep "$@" ;;
esac
