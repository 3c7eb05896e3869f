"""What several experiments share: jobs in processes, intervals, rows and tables."""
