environment "production"
workers 0
threads 4, 4
persistent_timeout 1
first_data_timeout 1
bind "tcp://127.0.0.1:PORT"
rackup "DIR/ledger.ru"
quiet
