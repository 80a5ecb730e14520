#!/usr/bin/env bash
# Countdown-mini from nothing: problems and traces, rows, a tokenizer and random weights; a base model that reasons
# sequentially; from it, as in the paper, one model fine-tuned on SPRINT rows and one on RFT rows of the same traces.
# About an hour and a quarter on two cores. Interrupted, each run goes on from its last checkpoint.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}

rows() { [ -f "work/$1/traces.jsonl" ] || $python -m curation.countdown_rows out="work/$1" "${@:2}"; }
rows countdown
rows countdown2 problems.three=1300 problems.four=3000 problems.seed=2 wholes=0.35 executors=4 drills=11000
rows countdown3 problems.three=1800 problems.four=4000 problems.seed=3 executors=3
[ -f work/mini/base/config.json ] || $python -m training.mini

train() { # OUT MODEL DATASET OVERRIDES...
  $python -m training.train out="work/mini/$1" model="work/mini/$2" dataset="work/$3" "${@:4}"
}
three=recipe.args.per_device_train_batch_size=3
peak() { echo "recipe.args.learning_rate=$1 recipe.args.warmup_ratio=0.02"; }
steps() { echo "+recipe.args.max_steps=$1 recipe.args.eval_strategy=no"; }
stopped() { echo "$(steps "$1") +recipe.args.lr_scheduler_kwargs.num_cycles=$2"; }

# The base: sequential traces; then new ones with drills in arithmetic. Both rounds end at the step at which those
# of LOG.md were stopped, with the learning rate where their longer schedules had it.
train rft base countdown/rft $three $(stopped 3500 0.358)
train rft2 rft countdown2/rft $three $(stopped 4500 0.327) $(peak 1e-3)

# The same new traces and the same number of tokens for both: 3,000 batches of four SPRINT rows and 2,230 of three
# RFT rows are 5.9M each.
train sprint3 rft2 countdown3/sprint $(steps 3000) $(peak 6e-4)
train rft3 rft2 countdown3/rft $three $(steps 2230) $(peak 6e-4)

$python -m training.export checkpoint=work/mini/sprint3 out=models/countdown-mini-sprint
$python -m training.export checkpoint=work/mini/rft3 out=models/countdown-mini-rft
