"""'make bench': the short benchmarks, one after the other. The long ones are named at the end."""

from benchmarks import inference, learner, task_step


def main() -> None:
    for benchmark in (task_step, learner, inference):
        benchmark.main()
        print()
    print("Engines beside each other, and GPUs: python -m benchmarks.engines.")
    print("Longer: python -m benchmarks.time_to_walk (20 minutes), then python -m benchmarks.stable_baselines (8 minutes).")


if __name__ == "__main__":
    main()
