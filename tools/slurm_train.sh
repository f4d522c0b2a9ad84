#!/usr/bin/env bash
# tools/slurm_train.sh PARTITION JOB CONFIG [arguments of mmvssm train]: one task a GPU; see docs/many_machines.md
set -euo pipefail
if [ $# -lt 3 ]; then echo "usage: $0 PARTITION JOB CONFIG [arguments of mmvssm train]" >&2; exit 2; fi
gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
if [ "$gpus" -lt "$per_node" ]; then per_node=$gpus; fi

# SRUN_ARGS is split into words; without a GPU, GPUS_PER_NODE counts the tasks and SRUN_ARGS=--gres=none asks for none
# shellcheck disable=SC2086
exec srun --partition "$1" --job-name "$2" --ntasks "$gpus" --ntasks-per-node "$per_node" \
    --gres "gpu:$per_node" --cpus-per-task "${CPUS_PER_TASK:-5}" --kill-on-bad-exit 1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$3" --launcher slurm "${@:4}"
