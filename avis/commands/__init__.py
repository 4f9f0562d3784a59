"""What the command lines do, a module each; `tools/` and the console command call them."""
