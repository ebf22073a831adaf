"""A metric and a schedule for multitune."""
