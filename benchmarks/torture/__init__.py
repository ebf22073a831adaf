"""Commands that are killed, or meet a full disk, at random, and then go on: `make torture`."""
