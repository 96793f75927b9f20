"""Where clips come from: video files, cut into shots and windows."""
