# bash completion for nsbrokerd, on top of the package bash-completion, which looks for it as
# /usr/share/bash-completion/completions/nsbrokerd

_nsbrokerd_offer() {
    local word
    for word; do
        [[ $word != "$cur"* ]] || COMPREPLY+=("$word")
    done
}

_nsbrokerd_offer_kinds() {
    _nsbrokerd_offer tcp udp udplite mptcp sctp icmp packet unix \
        raw:{icmp,igmp,tcp,udp,gre,esp,ah,icmpv6,ospf,pim,vrrp,sctp,udplite,raw} \
        netlink:{route,sock_diag,xfrm,netfilter,generic}
}

_nsbrokerd_offer_namespaces() {
    local path
    for path in /run/netns/*; do
        [[ ! -e $path ]] || _nsbrokerd_offer "${path##*/}"
    done
    _nsbrokerd_offer @host "$@"
}

_nsbrokerd() {
    local cur prev words cword command="" operands=0 option="" i word
    _get_comp_words_by_ref -n := cur prev words cword || return
    COMPREPLY=()
    for ((i = 1; i < cword; i++)); do
        word=${words[i]}
        if [[ $option ]]; then
            option=""
            continue
        fi
        case $word in
        --config | --user | --bind | --connect | --option | --listen | --grant | --namespace | --cookie | \
            --sockets | --root) option=$word ;;
        -*) ;;
        *) if [[ $command ]]; then ((operands++)); else command=$word; fi ;;
        esac
    done

    case $option in
    --config) _filedir toml ;;
    --user) _nsbrokerd_offer $(compgen -u) ;;
    --namespace) _nsbrokerd_offer_namespaces ;;
    --sockets) _nsbrokerd_offer_kinds ;;
    --root) _filedir -d ;;
    --option) _nsbrokerd_offer mark= bind_device= transparent ;;
    -*) ;;
    *)
        case $command in
        "")
            _nsbrokerd_options --version
            [[ $cur == -* ]] || _nsbrokerd_offer serve check explain status health reload metrics sockets revoke \
                install uninstall grant ungrant
            ;;
        explain)
            _nsbrokerd_options --config --json --user --bind --connect --option
            if [[ $cur != -* ]]; then
                case $operands in
                0) _nsbrokerd_offer_namespaces @own ;;
                1) _nsbrokerd_offer_kinds ;;
                esac
            fi
            ;;
        grant | ungrant)
            if [[ $command == grant ]]; then
                _nsbrokerd_options --config --sockets --bind --connect --option
            else
                _nsbrokerd_options --config
            fi
            if [[ $cur != -* ]]; then
                case $operands in
                0) _nsbrokerd_offer $(compgen -u) ;;
                1) _nsbrokerd_offer_namespaces @own ;;
                esac
            fi
            ;;
        install) _nsbrokerd_options --root ;;
        uninstall) _nsbrokerd_options --root --purge ;;
        serve | health | reload) _nsbrokerd_options --config ;;
        check) _nsbrokerd_options --config --json ;;
        status | sockets) _nsbrokerd_options --config --json --watch ;;
        metrics) _nsbrokerd_options --config --listen ;;
        revoke) _nsbrokerd_options --config --grant --user --namespace --cookie ;;
        esac
        ;;
    esac
    # readline replaces only the text behind the last colon.
    __ltrim_colon_completions "$cur"
}

# Offers options once the word begins with a dash.
_nsbrokerd_options() {
    [[ $cur != -* ]] || _nsbrokerd_offer "$@" --help
}

complete -F _nsbrokerd nsbrokerd
