"""`python -m multitune`, which is also what torchrun and `accelerate launch` start."""

from multitune.cli.main import run

if __name__ == "__main__":
    run()
