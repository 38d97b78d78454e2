# bash completion for nsbroker-get, on top of the package bash-completion, which looks for it as
# /usr/share/bash-completion/completions/nsbroker-get

# Offers the words that fit. Not by compgen -W, which would expand the text of a namespace's name.
_nsbroker_get_offer() {
    local word
    for word; do
        [[ $word != "$cur"* ]] || COMPREPLY+=("$(printf %q "$word")")
    done
}

_nsbroker_get_offer_namespaces() {
    local name before=""
    while read -r name _; do
        [[ $name == NAMESPACE || $name == @own || $name == "$before" ]] || _nsbroker_get_offer "$name"
        before=$name
    done < <(nsbroker-get "${broker[@]}" --timeout 1 list 2>/dev/null)
}

_nsbroker_get_offer_kinds() {
    _nsbroker_get_offer tcp udp udplite mptcp sctp icmp packet \
        raw:{icmp,igmp,tcp,udp,gre,esp,ah,icmpv6,ospf,pim,vrrp,sctp,udplite,raw} \
        netlink:{route,sock_diag,xfrm,netfilter,generic}
}

# Leaves the rest to the other command's completion. The other command begins at this one of our words.
_nsbroker_get_command() {
    local count=$1 index=0 i text
    # Bash has words of its own: it cuts them at "=" and ":".
    for ((i = 0; i < count; i++)); do
        text=""
        while [[ $text != "${words[i]}" ]] && ((index < COMP_CWORD)); do
            text+=${COMP_WORDS[index++]}
        done
    done
    _command_offset "$index"
}

_nsbroker_get() {
    local cur words cword option="" namespace="" verb="" operands=0 i word
    local -a broker=()
    _get_comp_words_by_ref -n := cur words cword || return
    COMPREPLY=()
    for ((i = 1; i < cword; i++)); do
        word=${words[i]}
        if [[ $option ]]; then
            [[ $option != --broker ]] || broker=(--broker "$word")
            option=""
            continue
        fi
        case $word in
        --broker=*) broker=("$word") ;;
        --broker | --timeout | --wait | -w | -s | -l | -p | --fdname | --max | --type | --bind | --connect | --fd | --mark) option=$word ;;
        --)
            case $verb in connect | explain | list | proxy | resolve) return ;; esac
            _nsbroker_get_command $((i + 1))
            return
            ;;
        -*) ;;
        *)
            case $verb in listen | run | socket)
                _nsbroker_get_command "$i"
                return
                ;;
            esac
            if [[ $verb ]]; then
                ((operands++))
            elif [[ $namespace || $word == list ]]; then
                verb=$word
            else
                namespace=$word
            fi
            ;;
        esac
    done

    case ${option:-$verb/$namespace} in
    --broker) _filedir ;;
    --type) _nsbroker_get_offer_kinds ;;
    -p) _nsbroker_get_offer tcp udp udplite mptcp sctp ;;
    -*) ;;
    connect/*) _nsbroker_get_offer_options -F -u -4 -6 -w -s --mark --transparent --freebind ;;
    explain/*)
        _nsbroker_get_offer_options -4 -6 --bind --connect --mark --transparent --freebind
        [[ $cur == -* ]] || ((operands)) || { _nsbroker_get_offer_kinds; _nsbroker_get_offer unix; }
        ;;
    listen/*)
        _nsbroker_get_offer_options -l -4 -6 -u -p --fdname --inetd --nginx --accept --max --wait \
            --mark --transparent --freebind --
        ;;
    proxy/*) _nsbroker_get_offer_options -l --any-user --mark --transparent --freebind ;;
    resolve/*) _nsbroker_get_offer_options -4 -6 ;;
    run/*) _nsbroker_get_offer --mark --transparent --freebind --stock -- --help ;;
    socket/*) _nsbroker_get_offer_options --type -4 -6 --bind --fd --mark --transparent --freebind -- ;;
    list/*)
        _nsbroker_get_offer_options --json
        [[ $namespace || $cur == -* ]] || ((operands)) || _nsbroker_get_offer_namespaces
        ;;
    /?*) _nsbroker_get_offer connect explain listen proxy resolve run socket list -- --help ;;
    /)
        _nsbroker_get_offer_options --broker --timeout --wait --version
        [[ $cur == -* ]] || { _nsbroker_get_offer_namespaces; _nsbroker_get_offer list; }
        ;;
    esac
    # readline replaces only the text behind the last colon.
    __ltrim_colon_completions "$cur"
}

# Offers options once the word begins with a dash.
_nsbroker_get_offer_options() {
    [[ $cur != -* ]] || _nsbroker_get_offer "$@" --help
}

complete -F _nsbroker_get nsbroker-get
