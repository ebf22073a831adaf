#!/usr/bin/env bash
# One machine, a process for each of its GPUs (or NPROC processes on its CPU).
# usage: torchrun.sh RUN_FILE [options of multitune train]
set -euo pipefail

exec torchrun --standalone --nproc-per-node "${NPROC:-gpu}" -m multitune train "$@"
