"""Notifications of what waits for people: what they say (`message`), how they are sent (`channels`), who sends them
(`worker`)."""
