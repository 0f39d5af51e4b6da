"""What every job shares: workdirs, files, locks, devices, one-line errors."""
