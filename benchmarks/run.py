"""`make bench PART=…`: run one measurement, or list them."""

import importlib
import sys

PARTS = {
    "kill_and_resume": "kill -9 during training, then --resume, against an uninterrupted run",
    "repeating_shapes": "speed and memory of packs filled up to repeating shapes, against packs as they come",
    "training": "speed of training against TRL and PEFT (needs DATA=folder or internet, and `make setup-bench`)",
    "answering": "speed of label scoring and generation against lm-evaluation-harness and transformers (as above)",
    "harness": "lm-evaluation-harness on a served run: its scores against the run's own (needs `make setup-bench`)",
    "many_processes": "one training on 1, 2 and 4 processes: losses and adapters against those of one",
    "memory": "memory of training as `check` tells it, against the peak that is measured, for seven shapes",
    "many_adapters": "nine adapters in one job against nine jobs",
    "busy_machine": "training with all cores and with one thread, quiet and with a neighbour on each core",
    "layers": "the layer with one adapter and with eight, and the profile of a training step",
    "startup": "start-up, `check` on 100,000 rows, and memory on 5,000,000 (LARGE=0 leaves those out)",
    "growth": "rows a second and memory of preparing 100,000 to ROWS rows, first and again (ROWS=1000000)",
    "llamacpp": "our GGUF adapter in llama.cpp, logit for logit (needs `pip install llama-cpp-python`)",
    "mixture10": "ten tasks, every kind of adapter, and the router (needs their data: DATA=folder)",
    "sequence": "tasks that join one after another: what older ones keep, and what joining costs (as above)",
    "out_of_distribution": "texts of no task: how many are rejected, by rule and by score (data as of mixture10)",
    "abstention": "rejections by share and by cost: own rows, texts of no task, scores (data as above; RUN=folder)",
    "routing_feedback": "what a router learns from feedback on shifted streams, honest and poisoned (data as above)",
    "choose_step": "which rule of choosing an adapter's step is best on test: every look answered on both splits",
    "null_verdicts": "how often verdicts are wrong where nothing differs, and right where something does",
    "selection": "what a rule of selection costs and saves, resampled from a finished run (needs RUN=folder)",
    "batch_invariance": "answers and losses that move with the rows beside them, and what it costs that none does",
    "adapter_memory": "memory of 64 adapters that answer, against the base and their own weights",
    "first_token": "what routing adds to the time to first token, on short and long prompts",
    "serving": "routed against named, 8 adapters against one and PEFT, many clients against transformers serve",
    "adding": "a task that joins a run of 2, 8 and 32 tasks: seconds, and what it moved",
    "forgetting": "the demo's tasks with 0, 5, 10 and 20% of general data: what is learnt and what is kept",
    "planning": "time and memory of estimating a million combinations of twenty tasks",
    "studies": "a recorded study, NAME=finance, student or related (needs its data: DATA=folder, or internet)",
    "shipping": "what ships on validation against the best on test, NAME=finance, after PART=studies",
    "guided": "a guided search against the exhaustive study of the same six tasks, NAME=related, after PART=studies",
    "quantized": "a base in 4 and 8 bits beside bfloat16: losses, scores, memory, and time side by side",
    "report_page": "size and loading time of reports over 100,000 predictions and 220 arms (RUN=folder adds a run)",
    "audit_label_errors": "labels exchanged in real sets, and those the audit names (DATA=folder; tweets if absent)",
    "audit_sets": "what the audit finds in public sets as they are published (needs their data: DATA=folder)",
    "audit_speed": "rows a second and memory of duplicates and leaks at 10,000, 100,000 and 1,000,000 rows (ROWS=…)",
    "audit_planted": "recall and precision on faults planted in real rows (DATA=folder; the example's if absent)",
    "finance8": "eight finance tasks at once against each alone (needs their data: DATA=folder, or internet)",
    "robustness": "what slices, flips and perturbed rows name, where something is and where nothing is (DATA, RUN)",
    "bias": "suites of social bias and secrets that were learned, planted and not (needs the suites: DATA=folder)",
    "audit_personal": "personal data found, on made rows and on public ones (PRESIDIO=file), and rows per second",
    "audit_people": "personal data, representation and association over public data sets (needs DATA=folder)",
}


def main() -> None:
    """Run the part that the first argument names."""
    if len(sys.argv) < 2 or sys.argv[1] not in PARTS:
        print("make bench PART=…, one of:", *(f"  {name:20} {what}" for name, what in PARTS.items()), sep="\n")
        sys.exit(0 if len(sys.argv) < 2 else 2)
    package = "benchmarks.speed" if sys.argv[1] in ("training", "answering") else "benchmarks"
    importlib.import_module(f"{package}.{sys.argv[1]}").main()


if __name__ == "__main__":
    main()
