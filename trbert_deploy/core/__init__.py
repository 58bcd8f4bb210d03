"""What everything else rests on: numpy alone, and nothing of ours from outside this folder."""
