"""Where turns come from beside the bus: log files that an agent writes anyway."""
