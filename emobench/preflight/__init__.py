"""Named checks over a planned case, the machine and the data: what will not work, why, and what to change."""
