"""Stories about the whole platform, told by clients that are not ours: mosquitto, paho and urllib."""
