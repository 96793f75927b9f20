#!/bin/bash
# Runs a dit_jax program on every worker of a TPU VM pod slice:
#
#   TPU=my-v5p-64 ZONE=us-east5-a launch/tpu_vm.sh \
#       python -m dit_jax.train --config configs/joint.py:xl/1x2x2 \
#       --workdir gs://BUCKET/runs/xl --config.data.path=DIR
#
# The repository must lie in DIRECTORY (default: ~/dit_jax) on all workers, with its
# `.venv` made by `make venv` and the TPU runtime installed. The workers find each other
# by the metadata of their machines.

set -euo pipefail

: "${TPU:?name the slice, TPU=NAME}" "${ZONE:?name its zone, ZONE=ZONE}"
DIRECTORY=${DIRECTORY:-'~/dit_jax'}

if [ $# -eq 0 ]; then
  echo "usage: TPU=NAME ZONE=ZONE launch/tpu_vm.sh python -m dit_jax.train ..." >&2
  exit 64
fi

command=$(printf '%q ' "$@")
gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=all \
  --command "cd $DIRECTORY && . .venv/bin/activate && exec $command"
