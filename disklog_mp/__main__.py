"""python -m disklog_mp"""

from disklog_mp.cli import main

if __name__ == "__main__":  # a spawned child imports this module too
    main()
