#!/usr/bin/env bash
# Countdown-mini from nothing: problems and traces, rows, a tokenizer and random weights; a base model that reasons
# sequentially; from it, as in the paper, one model fine-tuned on SPRINT rows and one on RFT rows of the same traces.
# About two hours on two cores. Interrupted, each run goes on from its last checkpoint.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}

rows() { # OUT OVERRIDES...
  [ -f "work/$1/rft.train.jsonl" ] || $python -m curation.countdown_rows out="work/$1" "${@:2}"
}
train() { # OUT MODEL DATASET OVERRIDES...
  $python -m training.train out="work/mini/$1" model="work/mini/$2" dataset="work/$3" recipe.args.eval_strategy=no "${@:4}"
}

three=recipe.args.per_device_train_batch_size=3
# The base, in three rounds: sequential traces, and drills in arithmetic, which random weights have none of.
# The weights that ship had the first two rounds on the traces of commit f90a9d7, which said yes or no to a result.
rows base problems.three=5500 problems.four=9500 problems.seed=2 drills=16000
rows base2 problems.three=3600 problems.four=6200 problems.seed=4 drills=6000
rows base3 problems.three=4200 problems.four=8800 problems.seed=5 drills=3000
[ -f work/mini/random/config.json ] || $python -m training.mini rows='[work/base/sprint.train.jsonl,work/base/rft.train.jsonl]'
train base random base/rft $three
train base2 base base2/rft $three
train base3 base2 base3/rft $three +recipe.args.max_steps=3600

# New traces, and the same number of tokens for both: 4,500 batches of four SPRINT rows, 3,380 of three RFT rows.
rows countdown problems.three=4000 problems.four=7500 problems.seed=3 executors=3
train sprint base3 countdown/sprint +recipe.args.max_steps=4500
train rft base3 countdown/rft $three +recipe.args.max_steps=3380

$python -m training.export checkpoint=work/mini/sprint out=models/countdown-mini-sprint
$python -m training.export checkpoint=work/mini/rft out=models/countdown-mini-rft
