"""The product as an enemy would treat it: kills, full disks, limits, damaged files, hostile input; `make torture`."""
