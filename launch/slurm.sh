#!/bin/bash
# Runs a dit_jax program on Slurm, one task a node, each task with all GPUs of its node:
#
#   sbatch --nodes=4 --gpus-per-node=8 launch/slurm.sh \
#       python -m dit_jax.train --config configs/joint.py:xl/1x2x2 --workdir DIR \
#       --config.data.path=DIR
#
# The tasks find each other by the variables that srun sets ("joined as process 2 of 4").
# Slurm sends SIGTERM two minutes before the end; the run saves, exits 75 and is requeued.
#SBATCH --job-name=dit_jax
#SBATCH --ntasks-per-node=1
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

set -uo pipefail

if [ $# -eq 0 ]; then
  echo "usage: sbatch --nodes=N launch/slurm.sh python -m dit_jax.train ..." >&2
  exit 64
fi

unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY  # they make the coordinator hang

srun --kill-on-bad-exit=1 "$@"
code=$?

if [ $code -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
