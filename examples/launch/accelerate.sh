#!/usr/bin/env bash
# The same through accelerate; NPROC is the number of processes.
# usage: accelerate.sh RUN_FILE [options of multitune train]
set -euo pipefail

exec accelerate launch --multi_gpu --num_processes "${NPROC:?number of processes}" -m multitune train "$@"
